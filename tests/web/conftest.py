"""Chromium, and a site that ``muqrt web`` wrote."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

import muqrt

from .visits import PATIENCE_MS, Visit, static_host

# As root there is no sandbox; nothing may call home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BUNDLE = Path(muqrt.__file__).parent / "runtime" / "bundle" / "muq-mini"

Launch = Callable[..., Browser]


# A module's, not the session's: while it runs, asyncio counts as running in this process.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Launch]:
    """Starts Debian's Chromium, with more flags if wanted; its tabs can be heard by each other."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright, ExitStack() as browsers:

        def launch(*flags: str) -> Browser:
            browser = playwright.chromium.launch(
                executable_path=path, args=[*FLAGS, *flags], ignore_default_args=["--mute-audio"]
            )
            browsers.callback(browser.close)
            return browser

        yield launch


@pytest.fixture(scope="module")
def browser(chromium: Launch) -> Browser:
    """A browser without special flags."""
    return chromium()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A new page, closed at the end."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        yield Visit(context.new_page())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of muq-mini's site, with every bit of its weights."""
    folder = tmp_path_factory.mktemp("web") / "site"
    command = [sys.executable, "-m", "muqrt", "web", str(BUNDLE), "--exact", "-o", str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site on a plain static host, which does not isolate it."""
    with static_host(site) as url:
        yield url
