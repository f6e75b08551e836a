"""Makes nbval 0.11 honest; `make test` runs it over the notebooks.

Why, in turn:
- a stripped notebook passes nbval, which then compares nothing: every notebook gets one more test, its lint;
- an error that leaves no traceback (an unknown magic) passes: the kernel's own reply must say "ok";
- a kernel that dies is waited for until the cell's time limit: here it is noticed within a second;
- `MPLBACKEND` or a live JupyterLab in the environment changes the outputs: the kernel gets the environment that
  `make notebooks` gives it, and an empty folder to work in.
"""

import shutil
import tempfile
import time
from os import devnull, environ
from pathlib import Path
from queue import Empty

import pytest
from nbval import kernel as nbval_kernel
from nbval import plugin as nbval_plugin

from simlab.lab.course import FOLDER
from simlab.lab.kernel import QUIET, STATIC
from simlab.lab.notebooks import lint

POLL = 0.5
"""Seconds between two looks at whether the kernel lives."""


class HonestKernel(nbval_kernel.RunningKernel):
    """nbval's kernel, which also remembers what it answered and notices when it is dead."""

    def __init__(self, kernel_name, cwd=None, startup_timeout=60):
        self.folder = tempfile.mkdtemp(prefix="simlab-")
        self.reply = {}
        with Path(devnull).open("w") as nowhere:
            self.km, self.kc = nbval_kernel.start_new_kernel(
                startup_timeout=startup_timeout,
                kernel_name=kernel_name,
                stderr=nowhere,
                cwd=self.folder,
                env={**environ, **STATIC, FOLDER: self.folder},
                extra_arguments=[*QUIET, "--HistoryManager.hist_file=:memory:"],
            )
        self._ensure_iopub_up()

    def execute_cell_input(self, cell_input, allow_stdin=None):
        """Sends a cell as Jupyter does, with history: so that its reply and its counts are Jupyter's."""
        self.reply = {}
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def get_message(self, stream, timeout=None):
        """The next message of a channel; `Empty` after `timeout` seconds, RuntimeError where the kernel has died."""
        limit = None if timeout is None else time.monotonic() + timeout
        while True:
            wait = POLL if limit is None else max(0.0, min(POLL, limit - time.monotonic()))
            try:
                message = super().get_message(stream, timeout=wait)
            except Empty:
                if not self.is_alive():
                    self.stop()
                    raise RuntimeError("the kernel died in this cell") from None
                if limit is not None and time.monotonic() >= limit:
                    raise
            else:
                if message["msg_type"] == "execute_reply":
                    self.reply = message["content"]
                return message

    def stop(self):
        """Ends the kernel and removes its folder."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


nbval_plugin.RunningKernel = HonestKernel


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """An error that nbval has not seen is a failure of the cell."""
    result = yield
    if isinstance(item, nbval_plugin.IPyNbCell) and not item.options["check_exception"]:
        reply = item.parent.kernel.reply
        if reply.get("status") != "ok":
            item.raise_cell_error(f"the kernel replied {reply.get('status')!r}, {reply.get('evalue', '')!r}")
    return result


class Lint(pytest.Item):
    """The rules of simlab.lab.notebook_rules for one notebook."""

    def runtest(self):
        """Fails with all findings at once."""
        if findings := lint(self.path):
            pytest.fail("\n".join(findings), pytrace=False)

    def reportinfo(self):
        """Where the test stands in pytest's report."""
        return self.path, 0, f"{self.path.name}: lint"


class LintFile(pytest.File):
    """Stands beside nbval's own collector of the same notebook."""

    def collect(self):
        """The one test."""
        yield Lint.from_parent(self, name="lint")


def pytest_collect_file(file_path, parent):
    """Adds the lint wherever nbval runs."""
    if file_path.suffix == ".ipynb" and (parent.config.option.nbval or parent.config.option.nbval_lax):
        return LintFile.from_parent(parent, path=file_path)
    return None
