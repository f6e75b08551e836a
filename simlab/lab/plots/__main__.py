"""`python -m simlab.lab.plots PATH` saves the picture of the cycle as a PNG, as it stands in the README."""

import argparse
from pathlib import Path

from simlab.files import write_bytes
from simlab.lab.plots.cycle import cycle
from simlab.lab.plots.style import png

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m simlab.lab.plots", description="Draws the picture of the cycle.")
    parser.add_argument("path", type=Path, help="where to save it, as a PNG")
    write_bytes(parser.parse_args().path, png(cycle()))
