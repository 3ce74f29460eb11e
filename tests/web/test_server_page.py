"""The page with a gateway's model, from the gateway itself and from another host."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import Page, expect

import muqrt
from muqrt.gateway.server import Backend, Gateway, GatewayConfig
from muqrt.triton_repo.front.tokens import Tokens

from .conftest import BUNDLE, Launch
from .test_microphone import HOP_TOLERANCE, RECORD, hear_on, largest_difference
from .visits import Visit, drop, static_host

pytestmark = [pytest.mark.full, pytest.mark.slow]

TOKEN = "a-token-of-twenty-one"
Start = Callable[..., str]


@pytest.fixture
def gateway() -> Iterator[Start]:
    """Starts a gateway of muq-mini with these settings; returns its address."""
    with ExitStack() as running:

        def start(**settings: Any) -> str:
            session = running.enter_context(muqrt.open_bundle(BUNDLE, threads=1))
            backend = Backend(session, "muq-mini")
            found = running.enter_context(Gateway(backend, config=GatewayConfig(**settings)))
            return f"http://127.0.0.1:{found.port}"

        yield start


@pytest.fixture
def clip(music: Path, tmp_path: Path) -> Path:
    """Six seconds of music."""
    samples, rate_hz = soundfile.read(music / "greensleeves_duo.flac", dtype="int16")
    soundfile.write(tmp_path / "clip.wav", samples[: 6 * rate_hz], rate_hz)
    return tmp_path / "clip.wav"


def connect(page: Page, address: str, token: str = "") -> None:
    page.get_by_label("Address of").fill(address)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Connect").click()


def test_a_gateway_that_serves_the_page(
    visit: Visit, gateway: Start, site: Path, clip: Path
) -> None:
    address = gateway(site=site)
    page = visit.page
    page.goto(f"{address}/index.html")
    page.get_by_role("link", name="A server").click()
    expect(page.get_by_label("Address of")).to_have_value(address)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("status")).to_contain_text("Ready.")
    drop(page, clip)
    expect(page.get_by_role("status")).to_contain_text("tagged.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    found = json.loads(Path(download.value.path()).read_text())["results"][0]
    with muqrt.load(BUNDLE, threads=1) as model:
        assert found["scores"] == dict(model.tag(clip).ranking())
    assert found["audio"] == clip.name
    assert visit.origins == {address}
    assert visit.errors == []


def test_live_sound_for_a_gateway_elsewhere(
    chromium: Launch, gateway: Start, site: Path, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    browser = chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}",
    )
    with static_host(site) as host, browser.new_context() as context:
        address = gateway(tokens=Tokens(tmp_path / "tokens"), origins=[host.rstrip("/")])
        context.add_init_script(RECORD)
        visit = Visit(context.new_page())
        page = visit.page
        page.goto(f"{host}server.html")
        connect(page, address, "a-token-that-is-wrong")
        expect(page.get_by_role("alert")).to_contain_text("wants a token")
        connect(page, address, TOKEN)
        expect(page.get_by_role("status")).to_contain_text("Ready.")
        visit.errors.clear()  # the refusal is on the console
        heard = hear_on(page)
        assert visit.errors == []
        assert visit.origins == {host.rstrip("/"), address}
        # It has confined itself to this gateway.
        with static_host(site) as third:
            reached = page.evaluate("url => fetch(url).then(() => true, () => false)", third)
        assert reached is False
    assert largest_difference(heard, heard.samples) < HOP_TOLERANCE


# Keeps the page's sockets.
SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...args) { super(...args); window.sockets.push(this); }
};
"""
# Breaks the latest socket off when so much has been heard, and waits until there is another.
BREAK = """async (seconds) => {
  const count = () => window.heard.reduce((sum, each) => sum + each.length, 0);
  const until = (isSo) => new Promise((resolve) => {
    const look = setInterval(() => isSo() && resolve(clearInterval(look)), 20);
  });
  await until(() => count() >= seconds * window.rateHz);
  const before = window.sockets.length;
  window.sockets.at(-1).close();
  await until(() => window.sockets.length > before);
}"""


def test_a_socket_that_breaks_off_is_resumed(
    chromium: Launch, gateway: Start, site: Path, clip: Path
) -> None:
    browser = chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}",
    )
    address = gateway(site=site)
    with browser.new_context() as context:
        context.add_init_script(RECORD + SOCKETS)
        page = context.new_page()
        page.goto(f"{address}/server.html")
        connect(page, address)
        expect(page.get_by_role("status")).to_contain_text("Ready.")
        heard = hear_on(page, during=lambda: [page.evaluate(BREAK, each) for each in (3, 6)])
        metrics = page.request.get(f"{address}/metrics").text()
    assert "muqrt_gateway_streams_resumed_total 2" in metrics
    # No gap and nothing twice: the hops end at the same times.
    assert largest_difference(heard, heard.samples) < HOP_TOLERANCE
