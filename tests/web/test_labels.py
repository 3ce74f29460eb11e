"""A MuQ-MuLan in the page: the labels' scores and the texts' tokens that Python gives."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

import muqrt
from muqrt.errors import BundleError
from muqrt.gateway.server import Backend, Gateway, GatewayConfig
from muqrt.gateway.texts import local_texts
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.text.encoder import open_text_encoder
from muqrt.runtime.text.labels import LabelSet
from muqrt.runtime.text.tokenizer import TextTokenizer
from muqrt.runtime.text.zero_shot import LabelTagger, LabelTags
from muqrt.web import label_site
from muqrt.web.site import write_site

from .conftest import Launch
from .engine_page import EnginePage
from .visits import Visit, drop, static_host

LABELS = ["calm piano", "重金属", '$& a "fast" band']
TOLERANCE = 1e-4
TOKENIZER = (
    Path(muqrt.__file__).parent / "reference/checkpoints/muq-mulan-mini/xlm-roberta/tokenizer.json"
)
# Latin, Greek, Cyrillic, Arabic, general punctuation, CJK and emoji: of some scripts the two know
# different punctuation, being of different versions of Unicode.
SCRIPTS = [(0, 0x52F), (0x61E, 0x6FF), (0x2000, 0x2040), (0x3000, 0x9FFF), (0x1F300, 0x1F64F)]
LETTERS = st.one_of(st.characters(min_codepoint=low, max_codepoint=high) for low, high in SCRIPTS)
WORDS = st.sampled_from(["jazz", "piano", " ", "a piece of ", "钢琴", "<s>", "</s>", "<unk>", "▁"])
SCRIPT = """
import { runnerImport } from "vite";
import { readFileSync } from "node:fs";
const { module } = await runnerImport("./src/engine/tokenizer.ts");
const [file, texts] = process.argv.slice(1).map((name) => JSON.parse(readFileSync(name)));
const tokenizer = new module.Tokenizer(file, 20);
console.log(JSON.stringify(texts.map((each) => tokenizer.encode(each))));
"""


@pytest.fixture(scope="module")
def site(mulan_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "site"
    write_site(load_bundle(mulan_bundle), folder)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with static_host(site) as url:
        yield url


def expected(bundle: Path, file: Path) -> LabelTags:
    labels = LabelSet(tuple(LABELS))
    with muqrt.load(bundle, threads=1) as model:
        return LabelTagger(model.session, labels, labels.latents(model.embed_text)).tag(file)


def check(found: dict, python: LabelTags) -> None:
    assert found["scores"] == pytest.approx(dict(python.ranking()), abs=TOLERANCE)
    cosines = dict(zip(LABELS, python.cosines.tolist(), strict=True))
    assert found["cosines"] == pytest.approx(cosines, abs=TOLERANCE)
    edges = [0.0, *(each["end_seconds"] for each in found["windows"])]
    assert edges == pytest.approx(python.edges_seconds.tolist())
    for window, scores in zip(found["windows"], python.window_scores.tolist(), strict=True):
        assert window["scores"] == pytest.approx(scores, abs=TOLERANCE)


@pytest.mark.full
@pytest.mark.slow
def test_labels_are_those_of_python(
    chromium: Launch, address: str, mulan_bundle: Path, music: Path
) -> None:
    engine = EnginePage(chromium().new_page(), address)
    assert (engine.info["task"], engine.info["vocabulary"]) == ("zero-shot", [])
    assert engine.info["largestDifference"] <= label_site.LARGEST_CHANGE
    for name in ("greensleeves_duo.flac", "bach_prelude_c.mp3"):
        found = engine.tag_file(music / name, LABELS)
        check(found, expected(mulan_bundle, music / name))
    for wrong, words in (([], "1 to 1000 labels"), (["a", "a"], "twice"), ([" "], "empty")):
        with pytest.raises(Exception, match=words):
            engine.tag_file(music / name, wrong)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("place", ["browser", "server"])
def test_the_page_asks_for_labels(
    visit: Visit, site: Path, address: str, mulan_bundle: Path, music: Path, place: str
) -> None:
    page, file = visit.page, music / "greensleeves_duo.flac"
    texts = local_texts(lambda: open_text_encoder(mulan_bundle, threads=1))
    with (
        muqrt.open_bundle(mulan_bundle, threads=1) as session,
        Gateway(Backend(session, "words", texts=texts), config=GatewayConfig(site=site)) as gateway,
    ):
        if place == "browser":
            visit.open(address)
        else:
            page.goto(f"{gateway.url}/server.html")
            page.get_by_role("button", name="Connect").click()
            expect(page.get_by_role("status")).to_contain_text("Ready.")
        assert page.get_by_role("button", name="Use the microphone").count() == 0
        page.get_by_label("What to listen for").fill("\n".join(["", *LABELS, LABELS[0]]))
        drop(page, file)
        expect(page.get_by_role("status")).to_contain_text("tagged.")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download JSON").click()
    document = json.loads(Path(download.value.path()).read_text())
    assert document["vocabulary"] == LABELS
    assert document["thresholds"] == pytest.approx(dict.fromkeys(LABELS, 1 / 3))
    check(document["results"][0], expected(mulan_bundle, file))
    assert visit.errors == []


@pytest.mark.full
@given(texts=st.lists(st.lists(LETTERS | WORDS, max_size=12).map("".join), min_size=400))
@settings(max_examples=5, phases=[Phase.generate])
def test_texts_have_the_same_tokens(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    web = Path(muqrt.__file__).parent / "web"
    node = shutil.which("node")
    if node is None or not (web / "node_modules" / "vite").is_dir():
        pytest.skip("no Node.js with the page's packages: cd web && npm ci")
    file = tmp_path_factory.mktemp("texts") / "texts.json"
    file.write_text(json.dumps(texts))
    command = [node, "--input-type=module", "--eval", SCRIPT, str(TOKENIZER), str(file)]
    done = subprocess.run(command, cwd=web, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    encode = TextTokenizer(TOKENIZER, 20).encode
    assert json.loads(done.stdout) == [encode(each)[0][0].tolist() for each in texts]


def test_a_tokenizer_that_the_page_has_not_is_refused(mulan_copy: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    file = json.loads((mulan_copy / "tokenizer.json").read_text())
    tokenizer.write_text(json.dumps({**file, "normalizer": {"type": "NFKC"}}))
    with pytest.raises(BundleError, match="has no such tokenizer"):
        label_site._check_tokenizer(tokenizer)


def test_what_is_too_much_to_load_is_refused(
    mulan_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(mulan_bundle)
    with pytest.raises(BundleError, match="'other' is none that a browser runs"):
        label_site.chosen(bundle, "other")
    monkeypatch.setattr(label_site, "_MOST_BYTES", 1000)
    with pytest.raises(BundleError, match="Serve it with muqrt gateway"):
        label_site.chosen(bundle)
