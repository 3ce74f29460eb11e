"""The tolerant reader: FFmpeg, through PyAV, which is large and therefore an optional extra.

It reads almost every format, and goes on behind what it cannot decode.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import (
    BLOCK_SAMPLES,
    PADDING_SECONDS,
    Block,
    DecodedAudio,
    DecodingError,
    Refusal,
    to_float,
)
from .file_bytes import FileRange

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# What FFmpeg may open. It knows playlists too, that make it wait for a live broadcast or fetch
# from a network, and images, subtitles and text.
AUDIO_FORMATS = (
    "mov,aac,loas,matroska,asf,caf,ac3,eac3,dts,amr,ape,wv,tta,mpc,mpc8,tak,ogg,mp3,wav,w64,flac,"
    "aiff,au,dsf,iff,flv,avi,mpegts,mpeg"
)
_OPTIONS = {"format_whitelist": AUDIO_FORMATS, "protocol_whitelist": "file"}
# Formats whose headers count samples; elsewhere FFmpeg may be guessing.
_COUNTED_FORMATS = {"mp4", "flac", "wv", "tta", "ape"}
# Of a frame whose channels lie apart.
_MOST_PLANES = 8
_EXACT_FORMATS = {"flac", "wv", "tta"}


@contextmanager
def open_with_ffmpeg(file: Path | FileRange) -> Iterator[DecodedAudio]:
    """Open a file for decoding.

    Raises:
        ImportError: PyAV is not installed.
        Refusal: FFmpeg does not know such files, or there is no audio in this one.
    """
    import av

    # The absolute path keeps a file named like a URL from being taken for one.
    source: Any = str(file.absolute()) if isinstance(file, Path) else file
    try:
        # Metadata may be in any encoding.
        container = av.open(source, options=_OPTIONS, metadata_errors="replace")
    except av.FFmpegError as error:
        raise Refusal(error.strerror or str(error)) from None
    with container:
        if not container.streams.audio:
            raise Refusal("no audio track in it")
        formats = set(container.format.name.split(","))
        slack_seconds = 0.001 if formats & _EXACT_FORMATS else PADDING_SECONDS
        promise = _promised_seconds(container, formats)
        audio = DecodedAudio(promise, slack_seconds, is_mpeg="mp3" in formats)
        audio.blocks = _blocks(_frames(container, audio))
        yield audio


def frame_samples(frame: "av.AudioFrame") -> np.ndarray:
    """FFmpeg's samples as float32 (samples, channels)."""
    import av

    planar = frame.format.is_planar
    if planar and frame.layout.nb_channels > _MOST_PLANES:
        # PyAV reads only the first planes; of the others it gives memory that is not theirs.
        packed = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
        return np.concatenate([frame_samples(each) for each in packed])
    samples = frame.to_ndarray()
    return to_float(samples.T if planar else samples.reshape(-1, frame.layout.nb_channels))


def _promised_seconds(container: "InputContainer", formats: set[str]) -> float | None:
    track = container.streams.audio[0]
    if not formats & _COUNTED_FORMATS or not track.duration or track.time_base is None:
        return None
    return float(track.duration * track.time_base)


def _frames(container: "InputContainer", audio: DecodedAudio) -> Iterator["av.AudioFrame"]:
    """Every frame that can be decoded; those that cannot are counted."""
    import av

    frame_seconds = 0.0
    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise DecodingError(error.strerror or str(error)) from None
        if packet is None:
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            audio.bad_packets += 1
            audio.bad_seconds += _packet_seconds(packet) or frame_seconds
            continue
        for frame in frames:
            if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
                frame_seconds = frame.samples / frame.sample_rate
                yield frame


def _packet_seconds(packet: "av.Packet") -> float:
    if not packet.duration or packet.time_base is None:
        return 0.0
    return float(packet.duration * packet.time_base)


def _blocks(frames: Iterator["av.AudioFrame"]) -> Iterator[Block]:
    """FFmpeg's short frames in larger blocks, each of one rate and one number of channels."""
    gathered: list[np.ndarray] = []
    rate_hz = 0
    failure: DecodingError | None = None
    while True:
        try:
            frame = next(frames, None)
        except DecodingError as error:
            frame, failure = None, error
        samples = None if frame is None else frame_samples(frame)
        if gathered and (
            frame is None
            or samples is None
            or frame.sample_rate != rate_hz
            or samples.shape[1] != gathered[0].shape[1]
            or sum(map(len, gathered)) + len(samples) > BLOCK_SAMPLES
        ):
            yield Block(np.concatenate(gathered), rate_hz)
            gathered = []
        if frame is None or samples is None:
            break
        gathered.append(samples)
        rate_hz = frame.sample_rate
    if failure is not None:
        raise failure
