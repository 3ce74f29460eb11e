"""The instruments: which General MIDI programs play them, and which presets are kept for tests."""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

DRUM_BANK = 128


@dataclass(frozen=True)
class Preset:
    """One sound of one soundfont, which is counted from 0 in the order they were given."""

    soundfont: int
    bank: int
    program: int


@dataclass(frozen=True)
class Instrument:
    """A class of instruments.

    Args:
        programs: General MIDI programs, from 0; kits where ``bank`` is the drum bank.
        lowest: MIDI key, as highest.
        highest: the upper end of the usual range.
        family: the word songs with it are tagged with.
    """

    programs: tuple[int, ...]
    lowest: int
    highest: int
    family: str
    bank: int = 0


INSTRUMENTS = {
    "piano": Instrument((0, 1, 2, 3), 33, 96, "piano"),
    "electric piano": Instrument((4, 5), 36, 88, "electric piano"),
    "harpsichord": Instrument((6, 7), 36, 84, "harpsichord"),
    "bells": Instrument((8, 9, 10), 60, 96, "mallets"),
    "mallets": Instrument((11, 12, 13), 53, 89, "mallets"),
    "organ": Instrument((16, 17, 18, 19), 36, 84, "organ"),
    "accordion": Instrument((21, 22, 23), 53, 84, "accordion"),
    "acoustic guitar": Instrument((24, 25), 40, 79, "acoustic guitar"),
    "electric guitar": Instrument((26, 27, 28), 40, 82, "electric guitar"),
    "distorted guitar": Instrument((29, 30), 40, 79, "distorted guitar"),
    "acoustic bass": Instrument((32, 35), 28, 55, "bass"),
    "electric bass": Instrument((33, 34, 36, 37), 28, 55, "bass"),
    "synth bass": Instrument((38, 39), 28, 55, "bass"),
    "violin": Instrument((40, 110), 55, 91, "strings"),
    "low strings": Instrument((41, 42), 40, 69, "strings"),
    "string ensemble": Instrument((48, 49, 50, 51), 40, 88, "strings"),
    "harp": Instrument((46, 45), 40, 88, "harp"),
    "choir": Instrument((52, 53, 54), 48, 79, "choir"),
    "trumpet": Instrument((56, 59), 55, 82, "brass"),
    "trombone": Instrument((57, 58, 60), 40, 67, "brass"),
    "brass section": Instrument((61, 62, 63), 43, 79, "brass"),
    "saxophone": Instrument((64, 65, 66), 49, 80, "woodwind"),
    "reed": Instrument((68, 69, 70, 71), 50, 84, "woodwind"),
    "flute": Instrument((73, 74, 72), 62, 91, "woodwind"),
    "pan flute": Instrument((75, 77, 79), 60, 88, "woodwind"),
    "banjo": Instrument((105, 106, 107), 48, 81, "banjo"),
    "synth lead": Instrument((80, 81, 84, 87), 48, 88, "synth"),
    "synth pad": Instrument((88, 89, 90, 91, 94, 95), 45, 84, "synth"),
}
KITS = {
    "drum kit": Instrument((0, 8, 16), 35, 81, "drums", DRUM_BANK),
    "jazz kit": Instrument((32, 40), 35, 81, "drums", DRUM_BANK),
    "drum machine": Instrument((24, 25), 35, 81, "drum machine", DRUM_BANK),
}


# The families of the programs that no instrument has.
_OTHER_FAMILIES = {
    20: "organ", 31: "distorted guitar", 43: "strings", 44: "strings", 67: "woodwind",
    76: "woodwind", 78: "woodwind", 104: "", 108: "mallets", 109: "", 111: "",
    **dict.fromkeys((82, 83, 85, 86, 92, 93, *range(96, 104)), "synth"),
}  # fmt: skip
PROGRAM_FAMILIES = {
    program: each.family for each in INSTRUMENTS.values() for program in each.programs
} | _OTHER_FAMILIES


class Palette:
    """The presets of every instrument, those for training apart from those held out for tests.

    Every third preset of an instrument, from its second, is held out, so that a soundfont alone
    will do. Where whole soundfonts are held out, no other preset is.

    Args:
        soundfonts: how many there are.
        exists: whether a soundfont has a preset.
        held_out: which soundfonts are held out; None: presets of all of them.
        weights: how often each soundfont is chosen; equal presets by default.

    Raises:
        LookupError: an instrument has no preset for training, or none held out.
    """

    def __init__(
        self,
        soundfonts: int,
        exists: Callable[[Preset], bool],
        held_out: Sequence[bool] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._presets = {}
        self._weights = weights
        self._exists, self._held_out = exists, held_out or [False] * soundfonts
        for name, instrument in (INSTRUMENTS | KITS).items():
            found = [
                preset
                for program in instrument.programs
                for font in range(soundfonts)
                if exists(preset := Preset(font, instrument.bank, program))
            ]
            kept = found[1::3] if held_out is None else [p for p in found if held_out[p.soundfont]]
            training = [each for each in found if each not in kept]
            if not training or not kept:
                raise LookupError(name)
            self._presets[name] = (training, kept)

    def presets(self, instrument: str, held_out: bool) -> list[Preset]:
        """The presets of an instrument for training, or with ``held_out`` for tests."""
        return self._presets[instrument][held_out]

    def preset(self, instrument: str, held_out: bool, choice: float) -> Preset:
        """One of them, by a number from 0 to below 1."""
        presets = self.presets(instrument, held_out)
        if self._weights is None:
            return presets[int(choice * len(presets))]
        return self._chosen(presets, choice)

    def program(self, bank: int, program: int, held_out: bool, choice: float) -> Preset | None:
        """A program of a font that training has, or with ``held_out`` tests; None: none has it."""
        fonts = [font for font, kept in enumerate(self._held_out) if kept == held_out]
        presets = [each for font in fonts if self._exists(each := Preset(font, bank, program))]
        return self._chosen(presets, choice) if presets else None

    def _chosen(self, presets: Sequence[Preset], choice: float) -> Preset:
        weights = self._weights or [1.0] * len(self._held_out)
        fonts = [preset.soundfont for preset in presets]
        shares = list(accumulate(weights[font] / fonts.count(font) for font in fonts))
        return presets[min(bisect(shares, choice * shares[-1]), len(presets) - 1)]
