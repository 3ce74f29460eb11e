"""Run a Triton Inference Server as a child process."""

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from uuid import uuid4

from ...common.closing import Closing
from ...common.network import local_host
from ...errors import ServerError
from .access import SHARED_MEMORY, RestrictedApis
from .exit_time import ExitTime
from .installation import find_server
from .log import ServerLog
from .ports import usable_ports
from .triton_http import TritonHttp
from .watchdog import ParentWatchdog

_POLL_SECONDS = 0.1
# What the server writes is for its user alone.
_PRIVATE_UMASK, _PRIVATE_MODE = 0o077, 0o600
# For unloading the models, in addition to the time for requests in flight.
_UNLOAD_SECONDS = 10


class Server(Closing):
    """A Triton server on a model repository; a context manager.

    Args:
        repository: folder of models, written by ``write_repository``.
        http_port, grpc_port, metrics_port: where to listen; a free port when None or 0.
        address: the interface to listen on; loopback by default.
        log: file for the server's output; a temporary file when None, this process's stderr when
            "-".
        start_timeout_seconds: how long the models may take to load and warm up.
        exit_timeout_seconds: how long requests in flight may take when the server stops.
        more_arguments: further arguments of tritonserver, such as ``--rate-limit=execution_count``.
        http_address, metrics_address: the interfaces for HTTP and metrics, where these differ
            because something in front of Triton listens on ``address``.
        allow_shared_memory: let clients register shared memory: for trusted ones, on this machine.

    Attributes:
        exit_time: for requests in flight when it stops. What stands in front of it and stops first
            begins it, and the server has what is left.
        http: asks Triton's own HTTP endpoints.

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
        http_address: str | None = None,
        metrics_address: str | None = None,
        allow_shared_memory: bool = False,
    ) -> None:
        self.repository = Path(repository)
        if not any(self.repository.glob("*/config.pbtxt")):
            raise ServerError(
                f"{repository}: no model repository there (no <model>/config.pbtxt). "
                "Make one with: muqrt repository BUNDLE -o models/"
            )
        self.address, self._more_arguments = address, more_arguments
        self._http_address = http_address or address
        self._metrics_address = metrics_address or address
        self.start_timeout_seconds = start_timeout_seconds
        self.exit_timeout_seconds = exit_timeout_seconds
        self.exit_time = ExitTime(exit_timeout_seconds)
        self.http_port, self.grpc_port, self.metrics_port = usable_ports(
            {
                "http": (self._http_address, http_port),
                "grpc": (address, grpc_port),
                "metrics": (self._metrics_address, metrics_port),
            }
        )
        self._apis = RestrictedApis([SHARED_MEMORY] if allow_shared_memory else [])
        self.http = TritonHttp(self.http_url, self.metrics_url, self._apis)
        self._installation = find_server()
        self._log = ServerLog(log)
        self._shared_memory = f"muqrt-{uuid4().hex}-"
        # A supervisor restarts it in another thread than the one that stops it.
        self._lifecycle, self._is_wanted = Lock(), False
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: ParentWatchdog | None = None

    @property
    def grpc_url(self) -> str:
        """``host:port`` for ``TritonSession``."""
        return f"{local_host(self.address)}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """Base URL of Triton's own HTTP endpoint."""
        return f"http://{local_host(self._http_address)}:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        """URL of Triton's own metrics."""
        return f"http://{local_host(self._metrics_address)}:{self.metrics_port}/metrics"

    @property
    def log(self) -> Path:
        """The file of the server's output, or "-" for stderr."""
        return self._log.path

    @property
    def headers(self) -> dict[str, str]:
        """What requests to the restricted HTTP APIs must carry; changes with every start."""
        return self._apis.headers

    @property
    def pid(self) -> int:
        """Process id and process group of the running server."""
        if self._process is None:
            raise ServerError("The server is not running; call start first.")
        return self._process.pid

    @property
    def _stop_seconds(self) -> float:
        return self.exit_time.left_seconds + _UNLOAD_SECONDS

    def start(self) -> "Server":
        """Start the server and wait until it and all its models are ready.

        Raises:
            ServerError: it died or was not ready in time; the message has its last log lines.
        """
        self._is_wanted = True
        return self._start()

    def _start(self) -> "Server":
        environment = {**os.environ, **self._installation.environment}
        self._apis.renew()
        with self._lifecycle, self._log.open() as log:
            if not self._is_wanted:
                raise ServerError("The Triton server was stopped.")
            # In a group of its own: Ctrl-C does not reach it, and all its children can be ended.
            self._process = subprocess.Popen(
                self._command(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=_PRIVATE_UMASK,
            )
        atexit.register(self.stop)
        try:
            grace_seconds = self.exit_timeout_seconds + _UNLOAD_SECONDS
            self._watchdog = ParentWatchdog(self.pid, grace_seconds, self._shared_memory)
            self._wait_until_ready()
        except BaseException:
            self._end(self._stop_seconds)
            self._log.forget()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and every process it started. Calling it twice is harmless."""
        self._is_wanted = False
        self._end(self._stop_seconds)
        self._log.forget()

    def restart(self) -> None:
        """Kill what is left of a server that died or hangs, and start it on the same ports.

        Raises:
            ServerError: as for ``start``, or another thread has stopped it.
        """
        self._end(grace_seconds=0)
        self._start()

    def _end(self, grace_seconds: float) -> None:
        atexit.unregister(self.stop)
        with self._lifecycle:
            process, self._process = self._process, None
        if process is None:
            return
        try:
            if grace_seconds:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(grace_seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # A killed server leaves the buffers of its Python backend in shared memory.
            for buffer in self._buffers():
                buffer.unlink(missing_ok=True)
            if self._watchdog is not None:
                self._watchdog.revoke()

    def _buffers(self) -> Iterator[Path]:
        return Path("/dev/shm").glob(f"{self._shared_memory}*")

    def _protect_buffers(self) -> None:
        # The Python backend's library makes them readable for everyone, whatever the umask.
        for buffer in self._buffers():
            with suppress(OSError):
                buffer.chmod(_PRIVATE_MODE)

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise ServerError, with the last log lines, when the server has died."""
        status = self._process.poll() if self._process else None
        if status is not None:
            raise ServerError(f"The Triton server exited ({status}). Its log ends:\n{self.tail()}")

    def metrics_text(self) -> str:
        """Triton's own metrics; raises OSError or HTTPException if they cannot be had."""
        return self.http.metrics_text()

    def models(self) -> dict[str, str]:
        """State of each model in the repository by name, READY when it can be used."""
        return self.http.models()

    def reload(self, model: str) -> None:
        """Unload a model and load it again, with new processes; the other models go on.

        Raises:
            ServerError: it could not be loaded.
        """
        try:
            self.http.reload(model, self.start_timeout_seconds)
            self._protect_buffers()
        except (HTTPException, OSError) as error:
            raise ServerError(
                f"Model {model!r} could not be loaded again ({error}). The log ends:\n{self.tail()}"
            ) from error

    def tail(self, lines: int = 20) -> str:
        """The last lines of the server's log without its tables, cut to a readable width."""
        return self._log.tail(lines)

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
            # So that one model can be loaded again; the API needs a key.
            "--model-control-mode=explicit",
            "--load-model=*",
            *self._apis.arguments(),
            # Environment variables would open these.
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            # The configurations are complete, and must be served as written.
            "--disable-auto-complete-config",
            "--exit-on-error=true",
            "--strict-readiness=true",
            f"--exit-timeout-secs={self.exit_timeout_seconds}",
            f"--http-address={self._http_address}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.address}",
            f"--grpc-port={self.grpc_port}",
            # By default a client that vanished keeps its connection for two hours.
            "--grpc-keepalive-time=60000",
            f"--metrics-address={self._metrics_address}",
            f"--metrics-port={self.metrics_port}",
            "--metrics-interval-ms=1000",
            *self._more_arguments,
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout_seconds
        hidden = False
        while time.monotonic() < deadline:
            self.check()
            if not self._is_wanted:
                raise ServerError("The Triton server was stopped while it started.")
            # What it logs comes after it has read its arguments.
            hidden = hidden or (self._log.has_grown and self._apis.hide(self.pid))
            with suppress(HTTPException, OSError):
                self.http.get("/v2/health/ready")
                self.http.metrics_text()  # whose port opens last
                self._protect_buffers()
                if not hidden:
                    self._apis.hide(self.pid)
                return
            self._protect_buffers()
            time.sleep(_POLL_SECONDS)
        raise ServerError(
            f"The Triton server was not ready within {self.start_timeout_seconds:g} s. "
            f"Its log ends:\n{self.tail()}"
        )
