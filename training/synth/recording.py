"""What happens between a sound and its file: tuning, room, equaliser, noise, level, codec.

None of it depends on what is played, so that no label can be read from it.
"""

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from .synthesizer import SAMPLE_RATE_HZ

_MOST_CENTS = 20.0
_PEAK_DBFS = (-20.0, -0.5)
_ROOM_SHARE, _EQUALIZER_SHARE, _LOW_PASS_SHARE, _NOISE_SHARE = 0.7, 0.5, 0.2, 0.4
_RT60_SECONDS = (0.15, 1.6)
_WETNESS = (0.05, 0.4)  # the room's share of the amplitude
_TILT_DB = 5.0
_TILT_CORNER_HZ = 1000.0
_LOW_PASS_HZ = (4500.0, 10500.0)
_SNR_DB = (30.0, 60.0)
_CODEC_SHARE = 0.25
_STORED_MP3_SHARE = 0.05
_FADE_SECONDS = 0.02


class Codec(NamedTuple):
    """A container and a codec, by libsndfile's names."""

    container: str
    subtype: str


MP3 = Codec("MP3", "MPEG_LAYER_III")
VORBIS = Codec("OGG", "VORBIS")
# Vorbis is never stored: libsndfile numbers its streams at random, so no two files would be equal.
_SUFFIXES = {".flac": Codec("FLAC", "PCM_16"), ".mp3": MP3}


@dataclass(frozen=True)
class Recording:
    """One recording's properties; None where a thing was not done.

    Args:
        cents: tuning of the instruments.
        peak_dbfs: of the file.
        rt60_s: reverberation time of the room.
        wetness: the room's share of the amplitude.
        tilt_db: gain of the treble less that of the bass.
        low_pass_hz: cut-off.
        snr_db: signal over background noise.
        codec: a lossy round trip before it was stored.
        compression: of any codec, from 0 (best quality) to below 1.
        suffix: .flac or .mp3.
    """

    cents: float
    peak_dbfs: float
    rt60_s: float | None
    wetness: float
    tilt_db: float | None
    low_pass_hz: float | None
    snr_db: float | None
    codec: Codec | None
    compression: float
    suffix: str

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Recording":
        """Draw a recording; the number of draws is always the same."""
        room, equalizer, low_pass, noise, codec, stored = rng.random(6)
        cents = rng.uniform(-_MOST_CENTS, _MOST_CENTS)
        peak = rng.uniform(*_PEAK_DBFS)
        rt60 = float(np.exp(rng.uniform(*np.log(_RT60_SECONDS))))
        wetness, tilt = rng.uniform(*_WETNESS), rng.uniform(-_TILT_DB, _TILT_DB)
        cutoff, snr = rng.uniform(*_LOW_PASS_HZ), rng.uniform(*_SNR_DB)
        lossy, compression = (MP3, VORBIS)[int(rng.integers(2))], rng.uniform(0, 0.95)
        return cls(
            float(cents),
            float(peak),
            rt60 if room < _ROOM_SHARE else None,
            float(wetness),
            float(tilt) if equalizer < _EQUALIZER_SHARE else None,
            float(cutoff) if low_pass < _LOW_PASS_SHARE else None,
            float(snr) if noise < _NOISE_SHARE else None,
            lossy if codec < _CODEC_SHARE else None,
            float(compression),
            ".mp3" if stored < _STORED_MP3_SHARE else ".flac",
        )

    def record(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """The sound as recorded, (samples,) in, (samples,) float32 out."""
        heard = audio.astype(np.float64)
        if self.rt60_s:
            heard += self.wetness * _room(rng, heard, self.rt60_s)
        if self.tilt_db:
            heard = _tilted(heard, self.tilt_db)
        if self.low_pass_hz:
            cutoff = butter(2, self.low_pass_hz, fs=SAMPLE_RATE_HZ, output="sos")
            heard = sosfilt(cutoff, heard)
        if self.snr_db:
            noise = _noise(rng, len(heard))
            heard += noise * np.sqrt(np.mean(heard**2)) * 10 ** (-self.snr_db / 20)
        fade = np.ones(len(heard))
        samples = round(_FADE_SECONDS * SAMPLE_RATE_HZ)
        fade[-samples:] = np.linspace(1, 0, samples)
        heard = self._leveled(heard * fade)
        if self.codec:
            heard = self._leveled(_round_trip(heard, self.codec, self.compression))
        return heard.astype(np.float32)

    def encode(self, audio: np.ndarray) -> bytes:
        """The bytes of the file."""
        return _encoded(audio, _SUFFIXES[self.suffix], self.compression)

    def _leveled(self, audio: np.ndarray) -> np.ndarray:
        return audio * (10 ** (self.peak_dbfs / 20) / max(np.abs(audio).max(), 1e-9))


def _room(rng: np.random.Generator, audio: np.ndarray, rt60: float) -> np.ndarray:
    """The reverberation alone, as loud as the sound itself."""
    time = np.arange(round(rt60 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    response = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    wet = oaconvolve(audio, response)[: len(audio)]
    return wet * np.sqrt(np.mean(audio**2) / max(np.mean(wet**2), 1e-12))


def _tilted(audio: np.ndarray, decibels: float) -> np.ndarray:
    pole = np.exp(-2 * np.pi * _TILT_CORNER_HZ / SAMPLE_RATE_HZ)
    bass = lfilter([1 - pole], [1, -pole], audio)
    return bass + (audio - bass) * 10 ** (decibels / 20)


def _noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise somewhere between white and brown, of unit power."""
    pole = rng.uniform(0, 0.98)
    noise = lfilter([1], [1, -pole], rng.standard_normal(samples))
    return noise / np.sqrt(np.mean(noise**2))


def _encoded(audio: np.ndarray, codec: Codec, compression: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        audio,
        SAMPLE_RATE_HZ,
        format=codec.container,
        subtype=codec.subtype,
        compression_level=compression if codec in (MP3, VORBIS) else None,
    )
    return buffer.getvalue()


def _round_trip(audio: np.ndarray, codec: Codec, compression: float) -> np.ndarray:
    decoded, _ = soundfile.read(io.BytesIO(_encoded(audio, codec, compression)))
    return np.pad(decoded[: len(audio)], (0, max(len(audio) - len(decoded), 0)))
