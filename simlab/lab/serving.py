"""A run on a server of its own: what `simlab serve` starts, and what the ring starts when it goes over HTTP.

Why a process of its own: a server that is killed must take nothing with it, and the ring must not notice but for the
wait. Whoever serves a run holds its folder, unless the ring does that already.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from simlab.errors import InboxError, RunError
from simlab.files import locked, temporary_folder
from simlab.lab.run import Run
from simlab.recsys.http import INBOX, ServeConfig
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
from simlab.recsys.public import write_public
from simlab.settings import from_dict, require

APP = "simlab.recsys.http:app_from_environment"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "simlab.serve": {"handlers": ["err"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["err"], "level": "WARNING", "propagate": False},
    },
}


def serve_config(run: Run, *, token: str = "", inbox: str = "", judge: bool = True) -> ServeConfig:
    """How `run` is served, after what is public of its shop has been put where a server finds it.

    Without a `token` one is made. Raises `RunError` where the run has no models yet.
    """
    if run.registry.alias("champion") is None or run.registry.alias("fallback") is None:
        raise RunError("run folder", str(run.path), "it has no models to serve: run it (again) first")
    write_public(run.path / "shop" / "public.npz", run.world.catalogue, run.world.shoppers)
    return ServeConfig(
        run=str(run.path.resolve()),
        token=token or secrets.token_urlsafe(18),
        inbox=inbox,
        online=run.config.online,
        seed=run.config.seed,
        judge=judge,
    )


def settle(path: Path, inbox: str = "") -> int:
    """Finishes the closing of a day that was killed half way; returns the open day of the inbox of the run in `path`.

    Raises `InboxError` where the closing cannot be finished.
    """
    log = EventLog(path / "log")
    with Inbox(inbox or path / INBOX, log, first_day=len(log.days)) as kept:
        day = kept.day
        if day > 0 and day - 1 not in log.days:
            kept.close_day(day - 1)
        return day


def check_port(host: str, port: int) -> None:
    """Raises `RunError` where nobody can listen on `port` of `host`."""
    require("port", port, 1 <= port < 65536, "give a port from 1 to 65535")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
    except OSError as error:
        raise RunError(
            "port", f"{host}:{port}", f"it cannot be listened on ({error.strerror}): take another"
        ) from error


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def serve(config: ServeConfig, *, host: str, port: int, workers: int = 1, hold: bool = True) -> None:
    """Serves until SIGTERM or SIGINT. Raises `RunError` where another process has the folder of the run."""
    import uvicorn

    path = Path(config.run)
    day, days = settle(path, config.inbox), EventLog(path / "log").days
    if day != len(days):
        remedy = f"the log has gone on to day {len(days)} without it: move the inbox away, then again"
        raise InboxError("open day of the inbox", day, remedy)
    os.environ["SIMLAB_SERVE"] = json.dumps(asdict(config))
    if workers > 1:  # each is a process of its own, which reads this when it begins
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = mkdtemp(dir=temporary_folder())
    if hold:
        with locked(Path(config.run)):
            serve(config, host=host, port=port, workers=workers, hold=False)
        return
    uvicorn.run(
        APP,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=LOGGING,
        access_log=False,
        timeout_graceful_shutdown=3,  # the control room's stream never ends by itself
        timeout_worker_healthcheck=30,  # on a busy machine a worker needs more than 5 s to begin
        limit_concurrency=None,
    )


class Server:
    """A server in a process of its own, that can be killed and started again at the same address."""

    def __init__(self, config: ServeConfig, port: int, *, workers: int = 1) -> None:
        self.config, self.port, self._workers = config, port, workers
        self.url = f"http://127.0.0.1:{port}"
        self._log = Path(mkdtemp(dir=temporary_folder())) / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, patience: float = 120.0) -> None:
        """Starts it, and waits until it is ready. Raises `RunError` with its last words where it is not."""
        command = [sys.executable, "-m", "simlab.lab.serving", str(self.port), str(self._workers)]
        environment = {**os.environ, "SIMLAB_SERVE": json.dumps(asdict(self.config)), "OPENBLAS_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._hang_up()
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.PIPE, start_new_session=True
            )
        deadline = time.monotonic() + patience
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RunError("server", self.url, f"it did not start: {self._last_words()}")
            time.sleep(0.05)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers to `body`, with the token. Raises `RunError` where it refuses, saying why."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.config.token}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise RunError(f"server, {path}", error.code, error.read().decode()) from error

    def stop(self) -> None:
        """Lets it finish what waits."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._hang_up()

    def kill(self) -> None:
        """As kill -9 does, its workers included."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _hang_up(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    @property
    def died(self) -> bool:
        """Whether it was started and is no more."""
        return self.process is not None and self.process.poll() is not None

    def _last_words(self) -> str:
        """The end of its log, less what DuckDB says of itself when a process ends early."""
        lines = self._log.read_text().splitlines()
        return "\n".join(line for line in lines if "leak" not in line and "... skipped" not in line)[-2000:].strip()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> None:
    """The server's process: settings from $SIMLAB_SERVE; port and number of workers are its two words.

    It ends when its standard input does, so that it does not outlive whoever started it, however that one ended.
    """

    def watch() -> None:
        while os.read(0, 1):  # not by sys.stdin, whose lock a thread must not hold when Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    config: ServeConfig = from_dict(ServeConfig, json.loads(os.environ["SIMLAB_SERVE"]))
    serve(config, host="127.0.0.1", port=int(sys.argv[1]), workers=int(sys.argv[2]), hold=False)


if __name__ == "__main__":
    main()
