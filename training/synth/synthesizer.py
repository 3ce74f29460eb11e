"""Notes to audio through FluidSynth and General MIDI soundfonts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MissingDependencyError, UsageError
from .instrument import Palette, Preset

SAMPLE_RATE_HZ = 24_000
DEFAULT_SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf2/TimGM6mb.sf2"),
)
CHANNELS = 16

_BLOCK = 64  # samples; FluidSynth acts on events between its blocks
_BEND_CENTER = 8192
_BEND_CENTS = 200.0  # reached at the ends of the wheel
_GAIN = 0.3
_VOLUME, _PAN = 7, 10  # MIDI controllers
_LOG_LEVELS = (1, 2)  # FluidSynth's errors and warnings
_MAGIC = (b"RIFF", b"sfbk")
_INSTALL = (
    "Run: pip install 'muqrt[train]' and, on Debian, "
    "apt-get install libfluidsynth3 fluid-soundfont-gm timgm6mb-soundfont"
)


@dataclass(frozen=True)
class Note:
    """A note of a part: times in seconds, a MIDI key and velocity."""

    part: int
    start: float
    end: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Channel:
    """How a part sounds: its preset, its MIDI volume and pan (0..127)."""

    preset: Preset
    volume: int = 100
    pan: int = 64


def find_soundfonts(chosen: Sequence[Path]) -> list[Path]:
    """The chosen soundfonts, or Debian's where none was chosen.

    Raises:
        UsageError: one is not there or not a soundfont.
        MissingDependencyError: none was chosen and none is installed.
    """
    found = list(chosen) or [path for path in DEFAULT_SOUNDFONTS if path.is_file()]
    if not found:
        raise MissingDependencyError(f"No General MIDI soundfont is installed. {_INSTALL}")
    for path in found:
        if not path.is_file():
            raise UsageError(f"{path}: no such soundfont.")
        with path.open("rb") as file:
            head = file.read(12)
        if (head[:4], head[8:]) != _MAGIC:
            raise UsageError(f"{path}: not a SoundFont 2 file.")
    return found


class Synthesizer:
    """FluidSynth with its soundfonts loaded; every rendering starts from the same state.

    Args:
        soundfonts: files.
        held_out: which of them are kept for tests, with samples read as they are needed; None:
            presets of all of them.
        weights: how often each is chosen; equal presets by default.

    Raises:
        MissingDependencyError: FluidSynth or its binding is not installed.
        UsageError: a soundfont cannot be loaded, or they lack an instrument.
    """

    def __init__(
        self,
        soundfonts: Sequence[Path],
        held_out: Sequence[bool] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        try:
            import fluidsynth
        except ImportError as error:
            raise MissingDependencyError(f"FluidSynth is needed ({error}). {_INSTALL}") from None
        self._fluidsynth = fluidsynth
        pointer, number = c_void_p, c_int
        synth = ("synth", pointer, 1)
        self._add = fluidsynth.cfunc("fluid_synth_add_sfont", number, synth, ("font", pointer, 1))
        self._remove = fluidsynth.cfunc(
            "fluid_synth_remove_sfont", number, synth, ("font", pointer, 1)
        )
        # The binding itself offers only 16 bits.
        self._write = fluidsynth.cfunc(
            "fluid_synth_write_float",
            *(number, synth, ("frames", number, 1)),
            *(("left", pointer, 1), ("left_offset", number, 1), ("left_step", number, 1)),
            *(("right", pointer, 1), ("right_offset", number, 1), ("right_step", number, 1)),
        )
        # A synth that gives its fonts back warns of every channel, and what fails is raised here.
        silence = fluidsynth.cfunc(
            "fluid_set_log_function",
            *(pointer, ("level", number, 1), ("function", pointer, 1), ("data", pointer, 1)),
        )
        for level in _LOG_LEVELS:
            silence(level, None, None)
        self._options = {"synth.reverb.active": 0, "synth.chorus.active": 0}
        if held_out is not None:
            self._options["synth.dynamic-sample-loading"] = 1
        self._library = self._new()
        self._fonts = [self._load(path) for path in soundfonts]
        try:
            self.palette = Palette(len(self._fonts), self.exists, held_out, weights)
        except LookupError as error:
            raise UsageError(f"The soundfonts have fewer than two presets of {error}.") from None

    def render(
        self, channels: Sequence[Channel], notes: Sequence[Note], seconds: float, cents: float = 0.0
    ) -> np.ndarray:
        """The notes as stereo, (2, samples) float32 at 24 kHz, detuned by ``cents``."""
        blocks = -(-round(seconds * SAMPLE_RATE_HZ) // _BLOCK)
        audio = np.zeros((2, blocks * _BLOCK), np.float32)
        with self._fresh() as (synth, fonts):
            for index, channel in enumerate(channels):
                preset = channel.preset
                synth.program_select(index, fonts[preset.soundfont], preset.bank, preset.program)
                synth.cc(index, _VOLUME, channel.volume)
                synth.cc(index, _PAN, channel.pan)
                synth.pitch_bend(index, round(cents / _BEND_CENTS * _BEND_CENTER))
            position = 0
            for block, note, is_on in _events(notes, blocks):
                self._advance(synth, audio, position, block)
                position = block
                if is_on:
                    synth.noteon(note.part, note.key, note.velocity)
                else:
                    synth.noteoff(note.part, note.key)
            self._advance(synth, audio, position, blocks)
        return audio[:, : round(seconds * SAMPLE_RATE_HZ)]

    def _new(self) -> Any:
        return self._fluidsynth.Synth(_GAIN, SAMPLE_RATE_HZ, CHANNELS, **self._options)

    @contextmanager
    def _fresh(self) -> Iterator[tuple[Any, list[int]]]:
        """A synth that has never sounded and its handles of the fonts.

        A reset would not do: FluidSynth's voices remember how loud they were.
        """
        fonts = [
            self._fluidsynth.fluid_synth_get_sfont_by_id(self._library.synth, handle)
            for handle in self._fonts
        ]
        synth = self._new()
        try:
            yield synth, [self._add(synth.synth, font) for font in fonts]
        finally:
            for font in fonts:
                self._remove(synth.synth, font)
            synth.delete()

    def _advance(self, synth: Any, audio: np.ndarray, start: int, stop: int) -> None:
        if stop > start:
            left, right = (row.ctypes.data for row in audio)
            frames, offset = (stop - start) * _BLOCK, start * _BLOCK
            self._write(synth.synth, frames, left, offset, 1, right, offset, 1)

    def _load(self, path: Path) -> int:
        handle = self._library.sfload(str(path))
        if handle < 0:
            raise UsageError(f"{path}: FluidSynth cannot load it.")
        return handle

    def exists(self, preset: Preset) -> bool:
        """Whether a soundfont has a preset."""
        font = self._fonts[preset.soundfont]
        return self._library.sfpreset_name(font, preset.bank, preset.program) is not None


def _events(notes: Sequence[Note], blocks: int) -> Iterator[tuple[int, Note, bool]]:
    """Every note's end and start in order of time; at one time, ends come first."""
    rate = SAMPLE_RATE_HZ / _BLOCK
    events = []
    for number, note in enumerate(notes):
        start = min(max(round(note.start * rate), 0), blocks)
        events.append((start, True, number))
        events.append((min(max(round(note.end * rate), start + 1), blocks), False, number))
    for block, is_on, number in sorted(events):
        yield block, notes[number], is_on
