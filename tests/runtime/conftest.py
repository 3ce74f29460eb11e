"""What several tests of audio files need."""

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.fixture
def write_with_ffmpeg() -> Callable[..., Path]:
    """Write (samples, channels) float32 in any of FFmpeg's formats; skips without PyAV."""
    av = pytest.importorskip("av")

    def write(
        path: Path, samples: np.ndarray, rate_hz: int, codec: str = "aac", **options: str
    ) -> Path:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
        with av.open(str(path), "w", options=options) as container:
            track = container.add_stream(codec, rate=rate_hz)
            track.layout = layout
            frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout=layout)
            frame.sample_rate = rate_hz
            frame.pts = 0  # so that the file counts the encoder's delay
            resampler = av.AudioResampler("fltp", layout, rate_hz, frame_size=1024)
            for piece in resampler.resample(frame) + resampler.resample(None):
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
        return path

    return write


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is taken, and the clock goes on by them."""
    taken: list[float] = []
    began = time.monotonic()
    monkeypatch.setattr("time.sleep", taken.append)
    monkeypatch.setattr("time.monotonic", lambda: began + sum(taken))
    return taken


@pytest.fixture
def half_hour(tmp_path: Path) -> Path:
    """A file of half an hour of noise at 8 kHz."""
    path = tmp_path / "long.wav"
    minute = np.random.default_rng(0).uniform(-0.5, 0.5, 60 * 8_000).astype(np.float32)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(30):
            file.write(minute)
    return path


@pytest.fixture
def memory_of() -> Callable[..., tuple[Any, int]]:
    """Calls a function; gives its result and the most bytes that were allocated meanwhile."""

    def measure(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
        tracemalloc.start()
        try:
            return function(*arguments), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure
