"""The page in light, dark and on a phone; also the pictures of the docs.

With ``MUQRT_SCREENSHOTS=docs/images`` the pictures are written there.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from .visits import Visit, drop

pytestmark = [pytest.mark.full, pytest.mark.slow]

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 900, "height": 860}},
    "dark": {"viewport": {"width": 900, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2},
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_fits(
    browser: Browser, address: str, music: Path, tmp_path: Path, look: str
) -> None:
    folder = Path(os.environ.get("MUQRT_SCREENSHOTS", tmp_path))
    with browser.new_context(**LOOKS[look], reduced_motion="reduce") as context:
        page = Visit(context.new_page()).open(address)
        drop(page, music / "ode_to_joy_band.ogg")
        expect(page.get_by_role("status")).to_contain_text("tagged.")
        page.get_by_role("slider").fill("20")
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture = page.screenshot(path=folder / f"page-{look}.png")
    assert len(picture) < 200_000
