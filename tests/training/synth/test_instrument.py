import pytest

from muqrt.training.synth.instrument import INSTRUMENTS, KITS, Palette


@pytest.mark.parametrize("soundfonts", [1, 2])
def test_tests_and_training_share_no_preset(soundfonts: int) -> None:
    palette = Palette(soundfonts, lambda preset: True)
    for name in INSTRUMENTS | KITS:
        training, held_out = palette.presets(name, False), palette.presets(name, True)
        assert training and held_out
        assert not set(training) & set(held_out)
        assert palette.preset(name, True, 0.999) in held_out
        assert palette.preset(name, False, 0.0) in training


def test_presets_that_are_not_there_are_not_played() -> None:
    palette = Palette(2, lambda preset: preset.soundfont == 1)
    assert {p.soundfont for name in INSTRUMENTS for p in palette.presets(name, False)} == {1}


def test_an_instrument_without_presets_is_named() -> None:
    flutes = set(INSTRUMENTS["flute"].programs)
    with pytest.raises(LookupError, match="flute"):
        Palette(1, lambda preset: preset.program not in flutes)
