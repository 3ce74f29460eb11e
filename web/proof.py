"""A site's certificate: its tags in a real browser, compared with the proven model's in Python."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np

from ..common.environment import environment
from ..common.files import atomic_file
from ..errors import BundleError, MissingDependencyError, SessionError
from ..export.parity.excerpt import Excerpt, excerpts
from ..runtime.bundle.certificate import AnyMeasurement, Certificate, certifies
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.bundle.tagging import TAGS, Tagging
from ..runtime.engines.open_session import open_session
from ..runtime.engines.session import WAVEFORM, require_output
from ..runtime.parity.measuring import measure
from ..runtime.streaming.engine import Streaming
from .loopback import Handler, serve_folder, url_of
from .rounding import ROUNDED_PRECISION
from .site import MODEL, SITE, reference_of

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing of the user's own browser is touched, and nothing calls home.
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
_PAGE = Path(__file__).with_name("proof.html")
_PATIENCE_SECONDS = 600
_MOST_ANSWER_BYTES = 1 << 22


@dataclass(frozen=True)
class Speed:
    """How fast the page was; single runs, on this machine.

    Attributes:
        ready_seconds: from the first request, to a server here, to the first answer.
        hop_ms: a hop of a live stream once its window is full, the median.
        native_hop_ms: the same in Python, with the same artefact on one thread.
    """

    ready_seconds: float
    hop_ms: float
    native_hop_ms: float


def prove_site(bundle: Bundle, site: Path) -> tuple[Certificate, Speed]:
    """Run a site's model in Chromium or Chrome, and write the certificate into its ``site.json``.

    Args:
        bundle: what the site was written from.
        site: its folder.

    Raises:
        BundleError: the bundle has no tags. MissingDependencyError: no such browser on PATH.
            SessionError: the page failed in it.
    """
    if bundle.tagging is None:
        raise BundleError(
            f"{bundle.folder}: no tags to prove; of labels the page compares a stored answer "
            "when it loads."
        )
    manifest = site / MODEL / SITE
    document = json.loads(manifest.read_text(encoding="utf-8"))
    artefact = bundle.named(document["artefact"])
    is_rounded = any(each["rounded"] for each in document["weights"])
    precision = ROUNDED_PRECISION if is_rounded else artefact.precision
    reference = reference_of(bundle, artefact)
    with open_session(bundle, reference) as session:
        tagging = require_output(session, Tagging)
        most = round(tagging.window_seconds * bundle.framing.sample_rate_hz)
        music = [each for each in excerpts() if _is_one_window(each, most)]
        expected = [session.run({WAVEFORM: each.waveform}, [TAGS])[TAGS] for each in music]
    answer = _answers(site, music)
    measurements: list[AnyMeasurement] = [
        measure(each.name, each.seconds, TAGS, _in_order(tagging, tags), theirs)
        for each, tags, theirs in zip(music, answer["tags"], expected, strict=True)
    ]
    certificate = Certificate(
        precision=precision,
        artefact_sha256=artefact.digest,
        reference=f"the bundle's {reference.name} in ONNX Runtime",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment() | {"browser": answer["browser"]},
        measurements=measurements,
        passed=certifies(precision, measurements),
    )
    document["certificate"] = certificate.model_dump()
    with atomic_file(manifest) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    native = _hop_ms(bundle, artefact, music)
    speed = Speed(
        answer["ready_seconds"],
        _median(answer["hop_ms"]),
        _median(native),
    )
    return certificate, speed


def _median(hop_ms: list[float]) -> float:
    """The median of the second half: the first round of excerpts fills the window."""
    return float(np.median(hop_ms[len(hop_ms) // 2 :]))


def _hop_ms(bundle: Bundle, artefact: Artefact, music: list[Excerpt]) -> list[float]:
    """What ``proof.html`` measures, in Python."""
    (longest,) = max((each.waveform for each in music), key=np.size)
    found = []
    with open_session(bundle, artefact, threads=1) as session:
        streaming = Streaming(session)
        live, chunk = streaming.open(), streaming.sliding.hop_samples
        for _ in range(3):
            for start in range(0, len(longest) - chunk + 1, chunk):
                began = perf_counter()
                streaming.push(live, longest[start : start + chunk])
                found.append((perf_counter() - began) * 1e3)
    return found


def _is_one_window(excerpt: Excerpt, most_samples: int) -> bool:
    rows, samples = excerpt.waveform.shape
    return rows == 1 and samples <= most_samples


def _in_order(tagging: Tagging, tags: dict[str, float]) -> np.ndarray:
    return np.array([[tags[name] for name in tagging.vocabulary]])


def _answers(site: Path, music: list[Excerpt]) -> dict[str, Any]:
    """What the page of proof sends: the browser's name, and the tags of every excerpt."""
    heard: Queue[dict[str, Any]] = Queue()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "served"
        folder.mkdir()
        for name in ("assets", MODEL, "runtime"):
            (folder / name).symlink_to((site / name).resolve())
        shutil.copy(_PAGE, folder / "index.html")
        names = [f"excerpt-{i}.f32" for i in range(len(music))]
        for name, each in zip(names, music, strict=True):
            (folder / name).write_bytes(each.waveform.astype("<f4").tobytes())
        (folder / "excerpts.json").write_text(json.dumps(names))
        with serve_folder(folder, handler=partial(_Hearing, heard)) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            with _browser(url_of(server), Path(temporary) / "profile"):
                try:
                    answer = heard.get(timeout=_PATIENCE_SECONDS)
                except Empty:
                    answer = {"error": f"no answer within {_PATIENCE_SECONDS} s"}
            server.shutdown()
    if "error" in answer:
        raise SessionError(f"{site}: the page failed in the browser ({answer['error']}).")
    return answer


class _Hearing(Handler):
    """Also takes the page's answer."""

    def __init__(self, heard: "Queue[dict[str, Any]]", *args: Any, **options: Any) -> None:
        self._heard = heard
        super().__init__(*args, **options)

    def do_POST(self) -> None:  # noqa: N802
        """Take it; there is one."""
        length = min(int(self.headers.get("Content-Length", 0)), _MOST_ANSWER_BYTES)
        self._heard.put(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()


@contextmanager
def _browser(url: str, profile: Path) -> Iterator[None]:
    """A browser without a window that is on this page; ended afterwards."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        raise MissingDependencyError(
            "a site is proven in Chromium or Chrome, and neither is on PATH. On Debian: apt-get "
            "install chromium"
        )
    # As root its sandbox cannot be set up; the page is this program's own.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [path, *_FLAGS, *root, f"--user-data-dir={profile}", url]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:  # type: ignore[call-overload]
        try:
            yield
        finally:
            process.terminate()
