"""Run a Triton Inference Server as a child process."""

import atexit
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener
from uuid import uuid4

from ...common.closing import Closing
from ...errors import ServerError
from .installation import find_server
from .ports import usable_ports
from .watchdog import ParentWatchdog

_POLL_SECONDS = 0.1
_TAIL_COLUMNS = 400
# For unloading the models, in addition to the time for requests in flight.
_UNLOAD_SECONDS = 10


class Server(Closing):
    """A Triton server on a model repository; a context manager.

    Args:
        repository: folder of models, written by ``write_repository``.
        http_port, grpc_port, metrics_port: where to listen; a free port when None or 0.
        address: the interface to listen on; loopback by default.
        log: file for the server's output; a temporary file when None.
        start_timeout_seconds: how long the models may take to load and warm up.
        exit_timeout_seconds: how long requests in flight may take when the server stops.
        more_arguments: further arguments of tritonserver, such as ``--rate-limit=execution_count``.

    Raises:
        ServerError: the repository or a port cannot be used.
        MissingDependencyError: no server is installed.
    """

    def __init__(
        self,
        repository: Path,
        http_port: int | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        address: str = "127.0.0.1",
        log: Path | None = None,
        *,
        start_timeout_seconds: float = 600.0,
        exit_timeout_seconds: int = 10,
        more_arguments: Sequence[str] = (),
    ) -> None:
        self.repository = Path(repository)
        if not any(self.repository.glob("*/config.pbtxt")):
            raise ServerError(
                f"{repository}: no model repository there (no <model>/config.pbtxt). "
                "Make one with: muqrt repository BUNDLE -o models/"
            )
        self.address, self._more_arguments = address, more_arguments
        self.start_timeout_seconds = start_timeout_seconds
        self.exit_timeout_seconds = exit_timeout_seconds
        self.http_port, self.grpc_port, self.metrics_port = usable_ports(
            address, {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        )
        self._installation = find_server()
        self._keeps_log = log is not None
        self.log = log if log is not None else _temporary_log()
        self._shared_memory = f"muqrt-{uuid4().hex}-"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: ParentWatchdog | None = None

    @property
    def grpc_url(self) -> str:
        """``host:port`` for ``TritonSession``."""
        return f"{_host(self.address)}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """Base URL of the HTTP endpoint."""
        return f"http://{_host(self.address)}:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        """URL that Prometheus scrapes."""
        return f"http://{_host(self.address)}:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """Process id and process group of the running server."""
        if self._process is None:
            raise ServerError("The server is not running; call start first.")
        return self._process.pid

    @property
    def _stop_seconds(self) -> int:
        return self.exit_timeout_seconds + _UNLOAD_SECONDS

    def start(self) -> "Server":
        """Start the server and wait until it and all its models are ready.

        Raises:
            ServerError: it died or was not ready in time; the message has its last log lines.
        """
        environment = {**os.environ, **self._installation.environment}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # In a group of its own: Ctrl-C does not reach it, and all its children can be ended.
            self._process = subprocess.Popen(
                self._command(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.stop)
        try:
            self._watchdog = ParentWatchdog(self.pid, self._stop_seconds, self._shared_memory)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and every process it started. Calling it twice is harmless."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            try:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self._stop_seconds)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                # A killed server leaves the buffers of its Python backend in shared memory.
                for buffer in Path("/dev/shm").glob(f"{self._shared_memory}*"):
                    buffer.unlink(missing_ok=True)
                if self._watchdog is not None:
                    self._watchdog.revoke()
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise ServerError, with the last log lines, when the server has died."""
        status = self._process.poll() if self._process else None
        if status is not None:
            raise ServerError(f"The Triton server exited ({status}). Its log ends:\n{self.tail()}")

    def models(self) -> dict[str, str]:
        """State of each model in the repository by name, READY when it can be used."""
        request = Request(f"{self.http_url}/v2/repository/index", data=b"{}", method="POST")
        index = json.loads(self._ask(request))
        return {each["name"]: each.get("state", "UNAVAILABLE") for each in index}

    def tail(self, lines: int = 20) -> str:
        """The last lines of the server's log without its tables, cut to a readable width."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        kept = [line for line in text.splitlines() if line[:1] not in ("", "|", "+")]
        return "\n".join(line[:_TAIL_COLUMNS] for line in kept[-lines:])

    def __enter__(self) -> "Server":
        return self.start()

    def close(self) -> None:
        """Stop the server."""
        self.stop()

    def _command(self) -> list[str]:
        return [
            str(self._installation.binary),
            *self._installation.arguments(self._shared_memory),
            f"--model-repository={self.repository.resolve()}",
            "--model-control-mode=none",
            # The configurations are complete, and must be served as written.
            "--disable-auto-complete-config",
            "--exit-on-error=true",
            "--strict-readiness=true",
            f"--exit-timeout-secs={self.exit_timeout_seconds}",
            f"--http-address={self.address}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.address}",
            f"--grpc-port={self.grpc_port}",
            # By default a client that vanished keeps its connection for two hours.
            "--grpc-keepalive-time=60000",
            f"--metrics-address={self.address}",
            f"--metrics-port={self.metrics_port}",
            "--metrics-interval-ms=1000",
            *self._more_arguments,
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout_seconds
        while time.monotonic() < deadline:
            self.check()
            with suppress(URLError, HTTPException, OSError):
                self._ask(f"{self.http_url}/v2/health/ready")
                self._ask(self.metrics_url)  # whose port opens last
                return
            time.sleep(_POLL_SECONDS)
        raise ServerError(
            f"The Triton server was not ready within {self.start_timeout_seconds:g} s. "
            f"Its log ends:\n{self.tail()}"
        )

    def _ask(self, request: Request | str) -> bytes:
        # Without the environment's proxy: the server is local.
        with build_opener(ProxyHandler({})).open(request, timeout=5) as response:
            return bytes(response.read())


def _temporary_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="muqrt-triton-", suffix=".log")
    os.close(handle)
    return Path(name)


def _host(address: str) -> str:
    """The host a local client connects to for a server listening on ``address``."""
    if address in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{address}]" if ":" in address else address
