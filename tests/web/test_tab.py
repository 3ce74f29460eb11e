"""The sound of another tab, as Chromium shares it."""

from pathlib import Path

import pytest
import soundfile

from .conftest import Launch
from .test_microphone import HOP_TOLERANCE, RECORD, hear_on, largest_difference
from .visits import Visit, static_host

pytestmark = [pytest.mark.full, pytest.mark.slow]

PLAYER = """<!doctype html><title>A player</title><audio src="music.wav" autoplay loop></audio>"""
SHARING = (
    "--auto-select-tab-capture-source-by-title=A player",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture
def player(music: Path, tmp_path: Path) -> Path:
    """The folder of a page that plays music."""
    samples, rate_hz = soundfile.read(music / "ode_to_joy_band.ogg", dtype="int16")
    soundfile.write(tmp_path / "music.wav", samples, rate_hz)
    (tmp_path / "index.html").write_text(PLAYER)
    return tmp_path


def test_a_tab_is_heard(chromium: Launch, address: str, player: Path) -> None:
    browser = chromium(*SHARING)
    with static_host(player) as other, browser.new_context() as context:
        context.new_page().goto(other)
        context.add_init_script(RECORD)
        visit = Visit(context.new_page())
        heard = hear_on(visit.open(address), "Share a tab")
        assert visit.errors == []
    assert heard.said.strip() == "Listening to the tab."
    assert abs(heard.samples).max() > 0.1
    assert largest_difference(heard, heard.samples) < HOP_TOLERANCE
