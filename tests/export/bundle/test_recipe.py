"""Whatever the recipe: an artefact is there, proven, or the bundle is as it was."""

from pathlib import Path

import pytest

from muqrt.errors import BundleError, CheckpointError, ParityError, UsageError
from muqrt.export.bundle.candidate import alone, following, fp32_source, share
from muqrt.export.bundle.recipe import Recipe, add
from muqrt.export.engines.openvino import OpenVinoRecipe
from muqrt.export.engines.pytorch import TorchRecipe
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.artefact import HalfRecipe
from muqrt.export.quantize.int8.artefact import Int8Recipe
from muqrt.export.quantize.qdq.artefact import QdqRecipe
from muqrt.export.quantize.weight_only import WeightOnlyRecipe
from muqrt.export.text_artefact import TextTowerRecipe
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle import certificate
from muqrt.runtime.bundle.certificate import Precision
from muqrt.runtime.bundle.manifest import Bundle, load_bundle

try:
    import openvino  # noqa: F401

    HAS_OPENVINO = True
except ImportError:
    HAS_OPENVINO = False

of_every_kind = pytest.mark.parametrize(
    ("recipe", "name"),
    [
        pytest.param(
            OpenVinoRecipe("fp32"),
            "openvino-fp32",
            marks=pytest.mark.skipif(not HAS_OPENVINO, reason="pip install 'muqrt[openvino]'"),
        ),
        (TorchRecipe("fp32"), "torch-fp32"),
        (WeightOnlyRecipe("int8-weights"), "onnx-int8-weights"),
        (HalfRecipe("fp16"), "onnx-fp16"),
    ],
    ids=["openvino", "torch", "weights", "half"],
)


@pytest.fixture
def proof(tiny_checkpoint: Path, short_music: list[Excerpt]) -> Proof:
    return Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@of_every_kind
def test_adding_it_again_replaces_it(
    bundle_copy: Path, proof: Proof, recipe: Recipe, name: str
) -> None:
    for _ in range(2):
        assert add(load_bundle(bundle_copy), recipe, proof).certified
    bundle = load_bundle(bundle_copy)
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32", name]
    assert all(each.certified for each in bundle.artefacts)
    for artefact in bundle.artefacts:
        bundle.verify(artefact)
    assert not [path for path in bundle_copy.iterdir() if path.is_dir()]


def test_two_builds_at_once_are_both_there(bundle_copy: Path, proof: Proof) -> None:
    """Each has read the manifest before the other's artefact was in it."""
    first, second = load_bundle(bundle_copy), load_bundle(bundle_copy)
    add(first, TorchRecipe("fp32"), proof)
    add(second, WeightOnlyRecipe("int8-weights"), proof)
    found = load_bundle(bundle_copy)
    names = ["onnx-fp32", "torch-fp32", "onnx-int8-weights"]
    assert [each.name for each in found.artefacts] == names
    assert [each.name for each in second.artefacts] == names
    assert all(each.certified for each in found.artefacts)
    for each in found.artefacts:
        found.verify(each)


def test_a_bundle_that_was_exported_again_meanwhile(bundle_copy: Path, proof: Proof) -> None:
    bundle = load_bundle(bundle_copy)
    newer = bundle.model_copy(update={"created_by": "muqrt 9"})
    newer.save(bundle_copy)
    with pytest.raises(BundleError, match="was exported again meanwhile"):
        add(bundle, TorchRecipe("fp32"), proof)
    assert load_bundle(bundle_copy).created_by == "muqrt 9"
    assert not [each for each in bundle_copy.iterdir() if each.name.startswith(".")]


@of_every_kind
def test_what_fails_its_gate_changes_nothing(
    bundle_copy: Path, proof: Proof, recipe: Recipe, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, bundle = files(bundle_copy), load_bundle(bundle_copy)
    for precision, thresholds in certificate.THRESHOLDS.items():
        stricter = thresholds.model_copy(update={"relative_l2": 1e-12})
        monkeypatch.setitem(certificate.THRESHOLDS, precision, stricter)
    with pytest.raises(ParityError, match=rf"{name}.*worst frame cosine \d\.\d+, relative L2 "):
        add(bundle, recipe, proof)
    assert files(bundle_copy) == before
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32"]


@of_every_kind
def test_an_interruption_while_it_is_put_in_place_changes_nothing(
    bundle_copy: Path, proof: Proof, recipe: Recipe, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older artefact of its name, which the manifest had left out already, is back."""
    bundle = load_bundle(bundle_copy)
    add(bundle, recipe, proof)
    before, names = files(bundle_copy), [each.name for each in bundle.artefacts]
    save, saved = Bundle.save, []

    def interrupted(self: Bundle, folder: Path) -> None:
        saved.append(len(self.artefacts))
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(self, folder)

    monkeypatch.setattr(Bundle, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(bundle, recipe, proof)
    assert saved == [1, 2, 2]
    assert files(bundle_copy) == before
    assert [each.name for each in bundle.artefacts] == names


@of_every_kind
def test_without_music_it_is_added_uncertified(
    bundle_copy: Path, tiny_checkpoint: Path, recipe: Recipe, name: str
) -> None:
    if isinstance(recipe, HalfRecipe):
        pytest.skip("its ranges are measured on music")
    artefact = add(load_bundle(bundle_copy), recipe, Proof(load_checkpoint(tiny_checkpoint)))
    assert artefact.name == name and artefact.certificate is None


class Copy(Recipe):
    """The fp32 artefact once more: made from the bundle alone."""

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        source = fp32_source(bundle)
        files = [source.file, *(name for name in source.files if name != source.file)]
        copied = [
            path.rename(folder / f"copy-{path.name}") for path in share(bundle, files, folder)
        ]
        facts = {"engine": source.engine, "precision": "fp32", "target": source.target}
        return alone(bundle, following(source, copied, name="copy", **facts), folder)


def test_without_a_checkpoint_the_stored_answers_prove_it(bundle_copy: Path) -> None:
    artefact = add(load_bundle(bundle_copy), Copy(), Proof(None))
    assert artefact.certified and artefact.certificate is not None
    assert "its answers stored in the bundle" in artefact.certificate.reference
    assert load_bundle(bundle_copy).artefact("copy").digest == artefact.digest


def test_what_the_stored_answers_refute_is_not_added(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, bundle = files(bundle_copy), load_bundle(bundle_copy)
    stricter = certificate.THRESHOLDS["fp32"].model_copy(update={"relative_l2": 1e-12})
    monkeypatch.setitem(certificate.THRESHOLDS, "fp32", stricter)
    with pytest.raises(ParityError, match="copy"):
        add(bundle, Copy(), Proof(None))
    assert files(bundle_copy) == before


def test_a_recipe_that_needs_the_checkpoint_says_so(bundle_copy: Path) -> None:
    before = files(bundle_copy)
    with pytest.raises(UsageError, match="name it with --checkpoint"):
        add(load_bundle(bundle_copy), TorchRecipe("fp32"), Proof(None))
    assert files(bundle_copy) == before


@of_every_kind
def test_a_bundle_without_an_artefact_to_follow(
    bundle_copy: Path, proof: Proof, recipe: Recipe, name: str
) -> None:
    bundle = load_bundle(bundle_copy)
    bundle.artefacts = []
    with pytest.raises(BundleError, match="no fp32 artefact for ONNX Runtime"):
        add(bundle, recipe, proof)


@of_every_kind
def test_a_tagged_bundle_needs_its_head(
    tagged_copy: Path, proof: Proof, recipe: Recipe, name: str
) -> None:
    with pytest.raises(CheckpointError, match="name the head's folder with --head"):
        add(load_bundle(tagged_copy), recipe, proof)


@pytest.mark.parametrize(
    ("make", "precision", "known"),
    [
        (OpenVinoRecipe, "int8", "fp32, bf16"),
        (TorchRecipe, "int8", "fp32, bf16, fp16"),
        (HalfRecipe, "int8", "fp16, bf16"),
        (WeightOnlyRecipe, "int8", "int8-weights, int4-weights"),
        (TextTowerRecipe, "fp16", "fp32, int8"),
        (lambda precision: QdqRecipe(precision, []), "fp16", "int8, fp8"),
    ],
)
def test_other_precisions_are_refused(make: type, precision: Precision, known: str) -> None:
    with pytest.raises(UsageError, match=f"precision '{precision}': .* {known}"):
        make(precision)


@pytest.mark.parametrize("accuracy", [0.5, 1.0])
def test_an_accuracy_below_the_gate_or_beyond_reach_is_refused(accuracy: float) -> None:
    with pytest.raises(UsageError, match=f"accuracy {accuracy}"):
        Int8Recipe([], accuracy)
