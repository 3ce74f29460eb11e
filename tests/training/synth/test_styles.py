"""The styles' files are checked when they are read."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from muqrt.training.synth.instrument import INSTRUMENTS, KITS
from muqrt.training.synth.styles.style import STYLES, Style

PLAIN: dict[str, Any] = {
    "tempo_bpm": [80, 120],
    "major": ["I IV", "I V", "I vi"],
    "minor": ["i iv", "i V", "i bVI"],
    "lead": ["piano", "flute"],
    "comp": {"figures": ["C-------C-------"], "center": 60},
    "pads": ["organ"],
    "grooves": [{"kick": "x.......x......."}],
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"tempo": 90},
        {"major": ["I IV", "I V"]},
        {"minor": ["i iv", "i V", "i H7"]},
        {"comp": {"figures": ["C-------C---?---"], "center": 60}},
        {"comp": {"figures": ["C-----------"], "center": 60}},
        {"comp": {"figures": ["C-------C-------"], "centre": 60}},
        {"grooves": [{"gong": "x.......x......."}]},
        {"grooves": [{"kick": "x.......x...", "hat": "x.......x......."}]},
    ],
)
def test_a_style_that_cannot_be_played_is_refused(wrong: dict[str, Any]) -> None:
    read = TypeAdapter(Style).validate_python
    assert read(PLAIN).swing == 0.5
    with pytest.raises(ValueError, match="validation error"):
        read(PLAIN | wrong)


def test_every_style_names_instruments_that_exist() -> None:
    for name, style in STYLES.items():
        roles = [role for role in (style.comp, style.bass) if role]
        named = {*style.lead, *style.pads, *(each for role in roles for each in role.instruments)}
        assert named <= set(INSTRUMENTS), name
        assert set(style.kits) <= {*KITS, ""}, name
