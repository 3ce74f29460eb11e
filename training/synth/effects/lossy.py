"""A lossy round trip through a codec at a low bit rate, by FFmpeg's libraries."""

import io
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from ..synthesizer import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

_FRAME_SAMPLES = 4096


class Codec(NamedTuple):
    """A codec by FFmpeg's name, its containers to write and to read, its lowest bit rates, and the
    samples it puts before the music."""

    name: str
    written: str
    read: str
    kilobits: tuple[int, ...]
    lead_in: int


CODECS = (
    Codec("libmp3lame", "mp3", "mp3", (24, 32, 48, 64), 0),
    Codec("aac", "adts", "aac", (24, 32, 48, 64), 1024),
    Codec("libopus", "ogg", "ogg", (16, 24, 32, 48), 0),
)


def round_trip(audio: np.ndarray, codec: Codec, kilobits: int) -> np.ndarray:
    """(samples,) encoded and decoded again."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=codec.written) as container:
        stream = cast("AudioStream", container.add_stream(codec.name, rate=SAMPLE_RATE_HZ))
        stream.layout = "mono"
        stream.bit_rate = kilobits * 1000
        stream.codec_context.thread_count = 1
        samples = np.clip(audio * 32767, -32768, 32767).astype(np.int16)
        resampler = av.AudioResampler(stream.codec_context.format, "mono", SAMPLE_RATE_HZ)
        for first in range(0, len(samples), _FRAME_SAMPLES):
            part = np.ascontiguousarray(samples[None, first : first + _FRAME_SAMPLES])
            frame = av.AudioFrame.from_ndarray(part, "s16", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, first
            for each in resampler.resample(frame):
                container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r", format=codec.read) as container:
        mono = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
        parts = [
            each.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for each in mono.resample(frame)
        ]
        parts += [each.to_ndarray()[0] for each in mono.resample(None)]
    decoded = np.concatenate(parts).astype(np.float64)[codec.lead_in :][: len(audio)]
    return np.pad(decoded, (0, len(audio) - len(decoded)))
