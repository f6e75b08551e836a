"""The kernel that notebooks run in: this very interpreter, quiet, with static figures.

Why: a kernel called "python3" may be anybody's, with other packages than the ones that are tested; and a notebook must
not look different because of where it was started (`MPLBACKEND` in the environment loses every figure).
"""

import os
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill import PapermillExecutionError
from traitlets import Dict, Unicode, default
from traitlets.config import Config

STATIC = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "SIMLAB_UI": "static",
    # Our matrices are small: a second thread brings nothing, and waits so busily that a run takes half as long again.
    "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
}
"""What the environment of a kernel says when nobody sits before it."""

QUIET = ["--log-level=CRITICAL"]
"""Options of the kernel: without them each one warns that it talks to its parent without encryption, and some call the
interrupt that ends them an error. What goes wrong in a cell is told by the cell."""

FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError, PapermillExecutionError)
"""How nbclient and papermill say that a cell has failed."""


class OwnSpecs(KernelSpecManager):
    """Whichever kernel is asked for, it is the running interpreter."""

    environment = Dict(key_trait=Unicode(), value_trait=Unicode())

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The running interpreter with `environment` added to its own; `kernel_name` does not matter."""
        literal = {name: value.replace("$", "$$") for name, value in self.environment.items()}
        return KernelSpec(resource_dir=str(RESOURCES), env=literal, **get_kernel_dict(extra_arguments=QUIET))


class OwnKernel(AsyncKernelManager):
    """Starts `OwnSpecs`; nbclient and papermill take it as `kernel_manager_class`."""

    environment = Dict(key_trait=Unicode(), value_trait=Unicode(), config=True)

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return OwnSpecs(environment=dict(self.environment))


def client_options(cwd: Path, timeout: int, **environment: str) -> dict[str, Any]:
    """Options for nbclient's `NotebookClient` and for papermill: work in `cwd`, at most `timeout` seconds a cell."""
    return {
        "kernel_name": "python3",
        "kernel_manager_class": OwnKernel,
        "config": Config({"OwnKernel": {"environment": STATIC | environment}}),
        "resources": {"metadata": {"path": str(cwd)}},
        "timeout": timeout,
        "coalesce_streams": True,
    }


def reason_of(failure: Exception, timeout: int) -> str:
    """What a learner has to know of one of the `FAILURES` under a time limit of `timeout` seconds."""
    match failure:
        case CellTimeoutError():
            return f"no end after {timeout} s"
        case DeadKernelError():
            return "the kernel died"
        case CellExecutionError(ename=name, evalue=value) | PapermillExecutionError(ename=name, evalue=value):
            return f"{name}: {value}"
    return str(failure)
