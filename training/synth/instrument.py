"""The instruments: which General MIDI programs play them, and which presets are kept for tests."""

from collections.abc import Callable
from dataclasses import dataclass

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


class Palette:
    """The presets of every instrument, those for training apart from those held out for tests.

    Every third preset of an instrument, from its second, is held out, so that a soundfont alone
    will do.

    Args:
        soundfonts: how many there are.
        exists: whether a soundfont has a preset.

    Raises:
        LookupError: an instrument has fewer than two presets.
    """

    def __init__(self, soundfonts: int, exists: Callable[[Preset], bool]) -> None:
        self._presets = {}
        for name, instrument in (INSTRUMENTS | KITS).items():
            found = [
                preset
                for program in instrument.programs
                for font in range(soundfonts)
                if exists(preset := Preset(font, instrument.bank, program))
            ]
            if len(found) < 2:
                raise LookupError(name)
            held_out = found[1::3]
            self._presets[name] = ([each for each in found if each not in held_out], held_out)

    def presets(self, instrument: str, held_out: bool) -> list[Preset]:
        """The presets of an instrument for training, or with ``held_out`` for tests."""
        return self._presets[instrument][held_out]

    def preset(self, instrument: str, held_out: bool, choice: float) -> Preset:
        """One of them, by a number from 0 to below 1."""
        presets = self.presets(instrument, held_out)
        return presets[int(choice * len(presets))]
