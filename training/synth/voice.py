"""A singing voice: a glottal pulse train and breath through the formants of a vocal tract."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, resample_poly, sosfilt

from .singer import FORMANTS, Singer
from .synthesizer import SAMPLE_RATE_HZ

_CONTROL_HZ = 200  # rate of pitch and loudness
_BLOCK = SAMPLE_RATE_HZ // _CONTROL_HZ
_OVERSAMPLING = 2
_SOURCE_RATE_HZ = SAMPLE_RATE_HZ * _OVERSAMPLING
_ATTACK_SECONDS = 0.05
_VOWEL_FADE = round(0.08 * SAMPLE_RATE_HZ)  # samples
_VIBRATO_ONSET_SECONDS = 0.35
_TRILL_SHARPNESS = 3.0
_SHIMMER = 4.0  # over the jitter
_ADAPTED_F1 = 1.05  # a singer opens the mouth rather than sing above the first formant
_FRY_HZ = 42.0
_RMS = 0.1


@dataclass(frozen=True)
class Technique:
    """A way of singing; factors are of the singer's own habits.

    Args:
        vibrato: factor of the depth; 0 sings straight.
        trill: semitones of a trill above the note.
        gate: the sounding share of a note.
        glide_s: duration of the way to the next note.
        swell: whether every note grows and fades.
        fry: whether the pulses are so slow that each is audible.
        breath: factor of the noise.
        open_quotient: factor.
        tilt: factor of the source's cut-off.
        jitter: factor.
        sustained: whether it needs long notes to be audible.
    """

    vibrato: float = 0.0
    trill: int = 0
    gate: float = 0.97
    glide_s: float = 0.06
    swell: bool = False
    fry: bool = False
    breath: float = 1.0
    open_quotient: float = 1.0
    tilt: float = 1.0
    jitter: float = 1.0
    sustained: bool = False


TECHNIQUES = {
    "straight": Technique(),
    "vibrato": Technique(vibrato=1.3, sustained=True),
    "trill": Technique(trill=2, sustained=True),
    "staccato": Technique(gate=0.4),
    "portamento": Technique(glide_s=0.45),
    "breathy": Technique(breath=20, open_quotient=1.3, tilt=0.4),
    "belt": Technique(vibrato=0.3, breath=0.5, open_quotient=0.65, tilt=4),
    "vocal fry": Technique(fry=True, open_quotient=0.5, jitter=12, breath=2, sustained=True),
    "messa di voce": Technique(vibrato=0.3, swell=True, sustained=True),
}
SONG_TECHNIQUE = Technique(vibrato=0.6)


@dataclass(frozen=True)
class Sung:
    """A sung note: seconds, MIDI key, a name in ``VOWELS``."""

    start: float
    end: float
    key: int
    vowel: str


def sing(
    rng: np.random.Generator,
    singer: Singer,
    technique: Technique,
    notes: Sequence[Sung],
    seconds: float,
) -> np.ndarray:
    """A voice alone, (samples,) float32 at 24 kHz, of constant loudness where it sounds.

    Args:
        rng: jitter, shimmer, breath and the vibrato's phase.
        singer: who.
        technique: how.
        notes: at least one, by start, one at a time.
        seconds: length of the result.
    """
    frames = int(np.ceil(seconds * _CONTROL_HZ)) + 1
    pitch_hz = pitch(rng, singer, technique, notes, frames)
    loudness = _loudness(technique, notes, frames)
    audio = _articulated(_source(rng, singer, technique, pitch_hz), singer, notes)
    audio *= _upsampled(loudness, len(audio), _BLOCK)
    sounding = audio[np.abs(audio) > 0]
    audio *= _RMS / np.sqrt(np.mean(sounding**2)) if len(sounding) else 1
    return audio[: round(seconds * SAMPLE_RATE_HZ)].astype(np.float32)


def pitch(
    rng: np.random.Generator,
    singer: Singer,
    technique: Technique,
    notes: Sequence[Sung],
    frames: int,
) -> np.ndarray:
    """The fundamental in Hz, (frames,) at 200 frames a second."""
    keys = _steps(notes, frames, [[float(note.key)] for note in notes])
    keys = _smooth(keys, technique.glide_s)[:, 0]
    time = np.arange(frames) / _CONTROL_HZ
    since = time - _steps(notes, frames, [[note.start] for note in notes])[:, 0]
    cycle = 2 * np.pi * (singer.vibrato_hz * time + rng.random())
    onset = np.clip(since / _VIBRATO_ONSET_SECONDS, 0, 1)
    keys = keys + technique.vibrato * singer.vibrato_cents / 100 * onset * np.sin(cycle)
    if technique.trill:
        keys = keys + technique.trill / 2 * (1 + np.tanh(_TRILL_SHARPNESS * np.sin(cycle)))
    hz = np.asarray(_hz(keys))
    return _FRY_HZ * (hz / hz.mean()) ** 0.5 if technique.fry else hz


def _loudness(technique: Technique, notes: Sequence[Sung], frames: int) -> np.ndarray:
    time = np.arange(frames) / _CONTROL_HZ
    loudness = np.zeros((frames, 1))
    for note in notes:
        length = (note.end - note.start) * technique.gate
        inside = (time >= note.start) & (time < note.start + length)
        along = (time[inside] - note.start) / length
        loudness[inside, 0] = np.sin(np.pi * along) ** 2 + 0.03 if technique.swell else 1.0
    return _smooth(loudness, _ATTACK_SECONDS)[:, 0]


def _source(
    rng: np.random.Generator, singer: Singer, technique: Technique, pitch_hz: np.ndarray
) -> np.ndarray:
    """The derivative of the glottal flow with breath, at 24 kHz."""
    samples = len(pitch_hz) * _BLOCK * _OVERSAMPLING
    hz = _upsampled(pitch_hz, samples, _BLOCK * _OVERSAMPLING)
    phase = np.cumsum(hz / _SOURCE_RATE_HZ)
    periods = int(phase[-1]) + 3
    jitter = singer.jitter * technique.jitter
    phase += np.interp(phase, np.arange(periods), jitter * rng.standard_normal(periods))
    phase = np.maximum.accumulate(np.maximum(phase, 0.0))
    period = np.minimum(phase.astype(int), periods - 1)
    strength = 1 + np.clip(_SHIMMER * jitter, 0, 0.3) * rng.standard_normal(periods)
    quotient = min(singer.open_quotient * technique.open_quotient, 0.95)
    opening = np.minimum((phase - period) / quotient, 1.0)
    flow = (opening**2 - opening**3) * strength[period]
    # The flow's difference is its derivative averaged over a sample, which keeps aliases low.
    pulses = np.diff(flow, append=flow[-1]) * _SOURCE_RATE_HZ / hz
    # Turbulence is radiated like the pulses: differentiated.
    turbulence = np.diff(rng.standard_normal(samples + 1))
    noise = turbulence * (0.3 + 6 * flow) * singer.breath * technique.breath
    pole = np.exp(-2 * np.pi * singer.tilt_hz * technique.tilt / _SOURCE_RATE_HZ)
    voiced = lfilter([1 - pole], [1, -pole], pulses)
    return resample_poly(voiced + noise, 1, _OVERSAMPLING)


def _articulated(source: np.ndarray, singer: Singer, notes: Sequence[Sung]) -> np.ndarray:
    """The source through the vocal tract of each note in turn, faded from one to the next."""
    changes = [round(note.start * SAMPLE_RATE_HZ) for note in notes[1:]]
    audio = np.zeros_like(source)
    for note, start, end in zip(
        notes, [-_VOWEL_FADE, *changes], [*changes, len(source)], strict=True
    ):
        # The filter rings in before it is audible.
        heard = slice(max(start - _VOWEL_FADE, 0), end + _VOWEL_FADE)
        time = np.arange(len(source))[heard]
        filtered = sosfilt(_vocal_tract(singer, note), source[heard])
        audio[heard] += filtered * _rise(time - start) * (1 - _rise(time - end))
    return audio


def _vocal_tract(singer: Singer, note: Sung) -> np.ndarray:
    """Resonators in cascade, second-order sections."""
    formants = singer.formants(note.vowel)
    formants[0] = max(formants[0], _ADAPTED_F1 * _hz(note.key))
    radii = np.exp(-np.pi * np.array(singer.bandwidths_hz) / SAMPLE_RATE_HZ)
    sections = np.zeros((FORMANTS, 6))
    sections[:, 3] = 1
    sections[:, 4] = -2 * radii * np.cos(2 * np.pi * formants / SAMPLE_RATE_HZ)
    sections[:, 5] = radii**2
    sections[:, 0] = sections[:, 3:].sum(axis=1)  # unit gain at 0 Hz
    return sections


def _rise(samples: np.ndarray) -> np.ndarray:
    return np.sin(np.pi / 2 * np.clip(samples / _VOWEL_FADE, 0, 1)) ** 2


def _hz(key: np.ndarray | float) -> np.ndarray | float:
    return 440 * 2 ** ((key - 69) / 12)


def _steps(notes: Sequence[Sung], frames: int, values: Sequence[object]) -> np.ndarray:
    """Each frame's value is that of the last note that has begun, (frames, width)."""
    starts = [note.start for note in notes]
    latest = np.searchsorted(starts, np.arange(frames) / _CONTROL_HZ, side="right") - 1
    return np.array(values)[np.maximum(latest, 0)]


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Columns, (frames, width), averaged over a window of so many seconds."""
    size = max(round(seconds * _CONTROL_HZ), 1) | 1
    window = np.hanning(size + 2)[1:-1]
    padded = np.pad(values, ((size // 2, size // 2), (0, 0)), mode="edge")
    columns = [np.convolve(column, window / window.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _upsampled(values: np.ndarray, samples: int, factor: int) -> np.ndarray:
    return np.interp(np.arange(samples) / factor, np.arange(len(values)), values)
