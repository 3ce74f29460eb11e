"""What a process does with a model, as far as its memory depends on it.

Run as a module, it does a request's work on noise and prints what memory that took, in JSON.
"""

import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...common.process.resident import peak_rss_bytes, rss_bytes
from ...errors import MuqrtError, UsageError

if TYPE_CHECKING:
    from ..inference.levels import Level
    from ..inference.windows import WindowLength
    from ..model import Model

Task = Literal["features", "embeddings", "tags", "scores", "tokens", "latents", "stream", "texts"]

WHOLE = (
    "a whole track in one window takes memory that grows with its length, and no limit of it can "
    "be kept: leave --max-memory out, or give the window in seconds where there is a choice."
)
_FILE_RATE_HZ = 44_100
_SHORT_SECONDS = 1.0
_STREAMED_HOPS = 4
_LOUDNESS = 0.3
# Whatever the tokenizer, more than a text tower takes: it is cut there. And a whole batch of them.
_TEXT, _TEXTS = "music " * 600, 32


@dataclass(frozen=True)
class Work:
    """What is done with a model.

    Attributes:
        task: what is computed.
        window: as for ``Model.embed``.
        overlap_seconds: as for ``Model``.
        level: as for ``Model.embed``.
        hop_seconds: as for ``Model.tag``.
        lengths: of a stream, as for ``LocalStreams``.
    """

    task: Task
    window: "WindowLength | None" = None
    overlap_seconds: float | None = None
    level: "Level | None" = None
    hop_seconds: float | None = None
    lengths: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """Work for a fresh process: of which bundle's artefact, with how many threads, and how many
    windows at once."""

    work: Work
    bundle: str
    artefact: str
    threads: int | None
    batch_size: int = 1


@dataclass(frozen=True)
class Memory:
    """What a request took, as resident memory of its process, libraries included.

    Attributes:
        start_bytes: before anything of the model was there.
        loaded_bytes: when the model had answered to a second of audio.
        peak_bytes: at most.
    """

    start_bytes: int
    loaded_bytes: int
    peak_bytes: int


def _did(request: Request) -> Memory:
    """Do a request's work here."""
    start = rss_bytes()
    if request.work.task == "texts":
        loaded = _embed_texts(request)
    elif request.work.task == "stream":
        loaded = _stream(request)
    else:
        loaded = _use(request)
    return Memory(start, loaded, peak_rss_bytes())


def _use(request: Request) -> int:
    """Compute what is wanted of files, in ascending order of their lengths, which is the hardest
    for allocators: half a window, a window, and more than a batch of windows."""
    from ..load import open_bundle
    from ..model import Model

    with suppress(ImportError):
        import_module("av")  # which files of some formats need
    work, batch = request.work, request.batch_size
    with (
        open_bundle(request.bundle, request.artefact, request.threads) as session,
        tempfile.TemporaryDirectory() as folder,
    ):
        model = Model(session, work.overlap_seconds, batch, seconds_ahead=1)
        window_seconds = _window_seconds(model, work)
        files = _Noise(Path(folder))
        _finish(model, work, [files.of(_SHORT_SECONDS)])
        loaded = rss_bytes()
        for seconds, count in ((window_seconds / 2, batch), (window_seconds, 2 * batch)):
            _finish(model, work, [files.of(seconds)] * count)
        for _ in range(2):
            _finish(model, work, [files.of((batch + 1) * window_seconds)])
    return loaded


def _window_seconds(model: "Model", work: Work) -> float:
    from ..bundle.joint import Joint
    from ..bundle.scoring import Scoring
    from ..bundle.tagging import Tagging
    from ..engines.session import require_output

    if work.task == "tags":
        return require_output(model.session, Tagging).window_seconds
    if work.task == "latents":
        clip_samples = require_output(model.session, Joint).clip_samples
        return clip_samples / model.framing.sample_rate_hz
    if work.task == "scores":
        seconds = require_output(model.session, Scoring).window_seconds
        if seconds == "whole":
            raise UsageError(WHOLE)
        return seconds
    return model.windowing(work.window).framing.window_seconds


def _finish(model: "Model", work: Work, files: list[Path]) -> None:
    """Compute what is wanted of files, and forget it."""
    results: Iterable[tuple[Any, Any]]
    if work.task == "features":
        for file in files:
            deque(model.stream_features(file, window=work.window, level=work.level), maxlen=0)
        return
    if work.task == "embeddings":
        results = model.embed_files(files, window=work.window, level=work.level)
    elif work.task == "tags":
        results = model.tag_files(files, work.hop_seconds)
    elif work.task == "scores":
        results = model.score_files(files)
    elif work.task == "tokens":
        results = model.tokens_files(files)
    else:
        results = model.embed_audio_files(files)
    for _, result in results:
        if isinstance(result, MuqrtError):
            raise result


def _stream(request: Request) -> int:
    from ..streaming.local import LocalStreams

    lengths = dict(request.work.lengths)
    with LocalStreams(Path(request.bundle), request.artefact, request.threads, lengths) as streams:

        def hear(seconds: float) -> None:
            deque(streams.stream(_noise(seconds, _FILE_RATE_HZ), _FILE_RATE_HZ), maxlen=0)

        sliding = streams.sliding
        step_seconds = 1 / sliding.framing.steps_per_second
        hop_seconds = sliding.hop_samples / sliding.framing.sample_rate_hz
        hear(sliding.first_steps * step_seconds)
        loaded = rss_bytes()
        hear(sliding.window_steps * step_seconds + _STREAMED_HOPS * hop_seconds)
    return loaded


def _embed_texts(request: Request) -> int:
    from ..text.encoder import open_text_encoder

    with open_text_encoder(request.bundle, request.artefact, request.threads) as encoder:
        encoder.encode(["music"])
        loaded = rss_bytes()
        encoder.encode([_TEXT] * _TEXTS)
    return loaded


class _Noise:
    """Stereo files of noise in a folder, written when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, seconds: float) -> Path:
        """A file of this duration."""
        import soundfile

        path = self._folder / f"{seconds}.flac"
        if not path.is_file():
            with soundfile.SoundFile(path, "w", _FILE_RATE_HZ, 2) as file:
                for block in _noise(seconds, _FILE_RATE_HZ):
                    file.write(np.stack([block, block], axis=1))
        return path


def _noise(seconds: float, rate_hz: int) -> Iterator[np.ndarray]:
    """Noise in blocks of at most a second, float32 (samples,)."""
    generator = np.random.default_rng(0)
    samples = round(seconds * rate_hz)
    for start in range(0, samples, rate_hz):
        block = generator.random(min(rate_hz, samples - start), np.float32)
        yield (2 * block - 1) * np.float32(_LOUDNESS)


def _main() -> None:
    given = json.loads(sys.argv[1])
    try:
        work = Work(**given.pop("work"))
        answer = asdict(_did(Request(work, **given)))
    except MuqrtError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
