"""The page in Chromium: what it shows, saves and says."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

import muqrt

from .conftest import BUNDLE, Launch
from .visits import Visit, drop, static_host

DECODED_TOLERANCE = 5e-4  # of files that page and Python decode alike


@pytest.fixture(scope="module")
def wav(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven seconds of music, in a file whose name a spreadsheet would take for a formula."""
    samples, rate_hz = soundfile.read(music / "greensleeves_duo.flac", dtype="int16")
    path = tmp_path_factory.mktemp("page") / '=a "duet", in part.wav'
    soundfile.write(path, samples[: 11 * rate_hz], rate_hz)
    return path


def downloaded(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).first.click()
    return Path(download.value.path()).read_bytes().decode()


def tagged(page: Page, *files: Path) -> None:
    drop(page, *files)
    expect(page.get_by_role("status")).to_contain_text("tagged.")


def test_a_dropped_file_gets_the_tags_of_python(visit: Visit, address: str, wav: Path) -> None:
    page = visit.open(address)
    tagged(page, wav)
    found = json.loads(downloaded(page, "Download JSON"))["results"][0]
    with muqrt.load(BUNDLE) as model:
        track = model.tag(wav)
    assert found["audio"] == wav.name
    assert found["seconds"] == pytest.approx(track.seconds, abs=1e-6)
    assert found["scores"] == pytest.approx(dict(track.ranking()), abs=DECODED_TOLERANCE)
    assert [each.text_content() for each in page.locator(".tag").all()] == list(track.segments())
    assert page.evaluate("crossOriginIsolated") is False
    assert visit.errors == []
    assert visit.origins == {address.removesuffix("/")}


@pytest.mark.full
@pytest.mark.slow
def test_downloads_are_those_of_the_command(
    visit: Visit, address: str, wav: Path, tmp_path: Path
) -> None:
    table = tmp_path / "tags.csv"
    command = [sys.executable, "-m", "muqrt", "tag", str(wav), "--bundle", str(BUNDLE)]
    told = subprocess.run(
        [*command, "--json", "--csv", str(table)], capture_output=True, check=True
    )
    expected = json.loads(told.stdout)
    page = visit.open(address)
    tagged(page, wav)
    found = json.loads(downloaded(page, "Download JSON"))
    assert found.keys() <= expected.keys()
    assert found["thresholds"] == expected["thresholds"]
    [left], [right] = found["results"], expected["results"]
    assert left.keys() == right.keys()
    assert (left["unsure"], left["guess"]) == (right["unsure"], right["guess"])
    assert left["segments"] == right["segments"]
    for ours, theirs in zip(left["windows"], right["windows"], strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=DECODED_TOLERANCE)
    # The command writes the path, the page the name, which is all that it knows.
    head, *rows = csv.reader(io.StringIO(downloaded(page, "Download CSV")))
    expected_head, *expected_rows = csv.reader(io.StringIO(table.read_text()))
    assert head == expected_head
    assert {row[0] for row in rows} == {f"'{wav.name}"}
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert row[1:4] == expected_row[1:4]
        assert float(row[4]) == pytest.approx(float(expected_row[4]), abs=DECODED_TOLERANCE)
        assert [float(each) for each in row[5:]] == [float(each) for each in expected_row[5:]]


@pytest.mark.full
@pytest.mark.slow
def test_keys_alone_are_enough(visit: Visit, address: str, wav: Path) -> None:
    # Before the page is there: dialogs are intercepted some time after somebody waits for them.
    visit.page.on("filechooser", lambda chooser: chooser.set_files(wav))
    page = visit.open(address)
    keys = page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(40):
            keys.press("Tab")
            focused = page.evaluate_handle("document.activeElement").as_element()
            label = focused.get_attribute("aria-label") or focused.inner_text()
            if label.strip() == name:
                return
        raise AssertionError(f"no way to {name}")

    tab_to("Choose files")
    keys.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("tagged.")
    moment = page.get_by_role("slider", name="Moment in the music")
    tab_to("Moment in the music")
    keys.press("Home")
    expect(moment).to_have_attribute("aria-valuetext", "0:00.0")
    first = page.locator(".score").all_inner_texts()
    keys.press("End")
    expect(moment).to_have_attribute("aria-valuetext", "0:11.0")
    assert page.locator(".score").all_inner_texts() != first
    tab_to("As a table")
    keys.press("Enter")
    expect(page.get_by_role("table")).to_be_visible()
    tab_to("Download CSV")
    with page.expect_download():
        keys.press("Enter")


@pytest.mark.full
@pytest.mark.slow
def test_what_cannot_be_read_is_said_beside_what_can(
    visit: Visit, address: str, wav: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not music")
    page = visit.open(address)
    drop(page, text, wav)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("notes.wav: ")
    expect(alert).to_contain_text("convert it")
    expect(page.get_by_role("article", name=wav.name)).to_be_visible()
    tagged(page, wav)
    expect(alert).to_be_hidden()


@pytest.mark.full
@pytest.mark.slow
def test_a_microphone_that_is_refused(chromium: Launch, address: str) -> None:
    browser = chromium("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    with browser.new_context() as context:
        page = Visit(context.new_page()).open(address)
        microphone = page.get_by_role("button", name="Use the microphone")
        microphone.click()
        expect(page.get_by_role("alert")).to_contain_text("Allow it beside the address")
        expect(microphone).to_be_focused()


@pytest.mark.full
@pytest.mark.slow
def test_no_other_origin_can_be_reached(visit: Visit, address: str, site: Path) -> None:
    page = visit.open(address)
    with static_host(site) as other:
        reached = page.evaluate("url => fetch(url).then(() => true, () => false)", other)
    assert reached is False
    assert any("Content Security Policy" in error for error in visit.errors)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, address: str, wav: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with browser.new_context(color_scheme=scheme) as context:
        page = Visit(context.new_page()).open(address)
        found = [Axe().run(page)]
        tagged(page, wav)
        page.get_by_text("As a table").click()
        found.append(Axe().run(page))
    assert [each.generate_report() for each in found if each.violations_count] == []
