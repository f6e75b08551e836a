"""`python -m simlab.lab.plots PATH` saves the picture of the cycle as a PNG, as it stands in the README."""

import sys
from pathlib import Path

from simlab.files import write_bytes
from simlab.lab.plots.cycle import cycle
from simlab.lab.plots.style import png

if __name__ == "__main__":
    write_bytes(Path(sys.argv[1]), png(cycle()))
