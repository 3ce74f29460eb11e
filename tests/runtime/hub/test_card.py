"""A model card says what the manifest says, and nothing that it does not."""

from pathlib import Path

import pytest

from muqrt.errors import UsageError
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.hub.address import HubAddress
from muqrt.runtime.hub.card import MARK, Origin, model_card

yaml = pytest.importorskip("yaml")

ADDRESS = HubAddress("me/mini", "v1")


@pytest.fixture
def shipped() -> Bundle:
    return load_bundle(SHIPPED_BUNDLE)


def metadata(card: str) -> dict[str, object]:
    """The card's front matter."""
    _, front, text = card.split("---\n", 2)
    assert MARK in text
    return yaml.safe_load(front)


def test_what_the_bundle_says(shipped: Bundle) -> None:
    card = model_card(shipped, ADDRESS, Origin.of(shipped))
    assert metadata(card) == {
        "library_name": "muqrt",
        "pipeline_tag": "audio-classification",
        "tags": ["muq", "music", "audio", "onnx", "onnxruntime"],
    }
    (artefact,) = shipped.artefacts
    certificate = artefact.certificate
    assert certificate is not None
    worst = max(each.relative_l2 for each in certificate.measurements if each.output == "features")
    gate = THRESHOLDS["fp32"].relative_l2
    assert f"| onnx-fp32 | features | relative l2 | {worst:.1e} | at most {gate:g} |" in card
    size = shipped.size_bytes(artefact) / 1e6
    assert f"| onnx-fp32 | onnxruntime | fp32 | {size:.1f} | yes | " in card
    assert certificate.environment["cpu"] in card
    assert 'with muqrt.load("hf://me/mini@v1") as model:' in card
    assert "muqrt tag song.flac --bundle hf://me/mini@v1" in card
    assert "does not say under which licence" in card


def test_an_artefact_without_a_certificate_is_not_called_proven(shipped: Bundle) -> None:
    shipped.artefacts[0].certificate = None
    card = model_card(shipped, ADDRESS, Origin.of(shipped))
    assert "| 19.5 | no |  |" in card and "| gate |" not in card


def test_licences(shipped: Bundle) -> None:
    assert Origin.of(shipped) == Origin()
    given = Origin.of(shipped, "mit", "me/muq-mini")
    card = model_card(shipped, ADDRESS, given)
    front = metadata(card)
    assert (front["license"], front["base_model"]) == ("mit", "me/muq-mini")
    assert "The weights are under `mit`, as those of `me/muq-mini`." in card
    shipped.source.checkpoint = "OpenMuQ/MuQ-large-msd-iter"
    assert Origin.of(shipped) == Origin("cc-by-nc-4.0", "OpenMuQ/MuQ-large-msd-iter")
    shipped.source.checkpoint = "OpenMuQ/another"
    assert Origin.of(shipped) == Origin()
    for wrong in ("CC BY", "mit\ntags: x", ""):
        with pytest.raises(UsageError, match="give the hub's identifier"):
            Origin.of(shipped, wrong)
    with pytest.raises(UsageError, match="no name of a repository"):
        Origin.of(shipped, None, "folder")


def test_no_text_of_a_manifest_is_markup(shipped: Bundle) -> None:
    shipped.source.checkpoint = "/home/me/secret/<b>`run`</b>\x1b[31m"
    assert shipped.tagging is not None
    shipped.tagging.vocabulary[0] = "[link](http://x) <script>|"
    card = model_card(shipped, ADDRESS, Origin.of(shipped))
    assert "/home/me" not in card and "\x1b" not in card
    assert r"\[link\](http://x) \<script\>\|" in card


def test_music_and_texts(mulan_bundle: Path) -> None:
    bundle = load_bundle(mulan_bundle)
    card = model_card(bundle, ADDRESS, Origin.of(bundle))
    assert "A MuQ-MuLan music model" in card and 'model.similarity("song.flac"' in card
    assert metadata(card)["pipeline_tag"] == "feature-extraction"
    assert "onnxruntime, texts" in card
