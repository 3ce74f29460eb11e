"""What outputs mean: carried by bundle, session and server, in the bytes of earlier versions."""

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from muqrt.errors import BundleError
from muqrt.runtime.bundle import meanings
from muqrt.runtime.bundle.certificate import THRESHOLDS, Certificate, Measurement
from muqrt.runtime.bundle.joint import Joint
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.output import Gate, Output
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tagging import Tagging
from muqrt.runtime.bundle.tokens import Tokenizer
from muqrt.runtime.engines.session import Arrays, Description, Session, require_output
from muqrt.triton_repo.contract.artefact import Contract

from .test_manifest import EARLIER

_SPECS = [
    {"name": "features", "dtype": "float32", "shape": ["batch", "steps", 8]},
    {"name": "tags", "dtype": "float32", "shape": ["batch", 1]},
    {"name": "tokens", "dtype": "int32", "shape": ["batch", 8, "whole_steps"]},
    {"name": "latents", "dtype": "float32", "shape": ["batch", 4]},
]
# Every field in the order of version 0.1.0.
MANIFEST: dict[str, Any] = {
    "format_version": 1,
    "created_by": "muqrt 0.1.0",
    "source": {"checkpoint": "a checkpoint", "sha256": "1" * 64, "parameters": 3},
    "architecture": {"encoder_dim": 8},
    **{key: EARLIER[key] for key in ("framing", "tagging", "tokenizer")},
    "joint": {
        "width": 4,
        "clip_samples": 240_000,
        "temperature": 20.0,
        "tokenizer": "tokenizer.json",
        "tokenizer_sha256": "8" * 64,
        "vocabulary": 100,
        "max_tokens": 16,
    },
    "artefacts": [
        {
            "name": "onnx-fp32",
            "tower": None,
            "engine": "onnxruntime",
            "precision": "fp32",
            "target": "cpu",
            "file": "muq.onnx",
            "files": {"muq.onnx": "4" * 64},
            "level": 1,
            "inputs": [{"name": "waveform", "dtype": "float32", "shape": ["batch", "samples"]}],
            "outputs": _SPECS,
            "quantization": None,
            "mixed_precision": None,
            "plan": None,
            "certificate": None,
        }
    ],
}
BEATS_SPEC = {"name": "beats", "dtype": "float32", "shape": ["batch", "steps", 2]}


class Beats(Output):
    """An output that nobody has made."""

    output: ClassVar[str] = "beats"
    key: ClassVar[str] = "meter"
    how_to_get: ClassVar[str] = "this model has no beats. Export it with --beats"
    gates: ClassVar[tuple[Gate, ...]] = (Gate("largest_difference", "largest_tag_change", False),)

    columns: int

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(name="beats", dtype="float32", shape=["batch", "steps", self.columns])


class Nothing(Session):
    """A session that is never run."""

    def _run(self, inputs: object, outputs: list[str]) -> Arrays:
        return dict.fromkeys(outputs, np.zeros(0))

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Beats]]:
    monkeypatch.setattr(meanings, "OUTPUTS", (*meanings.OUTPUTS, Beats))
    yield Beats


def written(document: dict[str, Any], folder: Path) -> Bundle:
    (folder / "bundle.json").write_text(json.dumps(document))
    return load_bundle(folder)


def contract_of(bundle: Bundle) -> Contract:
    (artefact,) = bundle.artefacts
    return Contract(
        framing=bundle.framing,
        level=artefact.level,
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        source="x",
        inputs=artefact.inputs,
        outputs=artefact.outputs,
        meanings=bundle.meanings,
    )


def measurement(output: str, cosine: float, relative_l2: float, largest: float) -> Measurement:
    return Measurement(
        audio="a",
        seconds=1,
        output=output,
        finite=True,
        worst_frame_cosine=cosine,
        relative_l2=relative_l2,
        largest_difference=largest,
    )


@pytest.mark.parametrize("missing", ["", "tagging", "tokenizer", "joint"])
def test_a_manifest_is_written_in_the_bytes_that_were_read(missing: str, tmp_path: Path) -> None:
    document = deepcopy(MANIFEST)
    if missing:
        document[missing] = None
        name = {"tagging": "tags", "tokenizer": "tokens", "joint": "latents"}[missing]
        outputs = [spec for spec in _SPECS if spec["name"] != name]
        document["artefacts"][0]["outputs"] = outputs
    bundle = written(document, tmp_path)
    bundle.save(tmp_path)
    assert (tmp_path / "bundle.json").read_text() == json.dumps(document, indent=2) + "\n"


def test_an_artefacts_digest_is_that_of_version_0_1_0(tmp_path: Path) -> None:
    bundle = written(MANIFEST, tmp_path)
    (artefact,) = bundle.artefacts
    assert artefact.digest == DIGEST
    shared = [MANIFEST[key] for key in ("framing", "tagging", "tokenizer", "joint")]
    texts = [json.dumps(each, separators=(",", ":")) for each in shared]
    texts.insert(1, "1" * 64)
    described = {k: v for k, v in MANIFEST["artefacts"][0].items() if v is not None}
    facts = json.dumps(described, sort_keys=True) + "".join(texts)
    assert artefact.digest == hashlib.sha256(facts.encode()).hexdigest()


# Computed by version 0.1.0.
DIGEST = "52a5a0b2a9ab44551519e868610c461ccf9d4dfe9ed67d3d7cf9b9032928185c"


def test_a_contract_is_told_as_by_version_0_1_0(tmp_path: Path) -> None:
    contract = contract_of(written(MANIFEST, tmp_path))
    parameters = contract.to_parameters()
    keys = ("tagging", "tokenizer", "joint")
    for key in keys:
        assert parameters[f"muqrt.{key}"] == json.dumps(MANIFEST[key], separators=(",", ":"))
    assert Contract.from_parameters(parameters) == contract
    document = json.loads(TypeAdapter(Contract).dump_json(contract))
    assert {key: document[key] for key in keys} == {key: MANIFEST[key] for key in keys}
    assert list(document)[-3:] == list(keys)
    assert TypeAdapter(Contract).validate_python(document) == contract


def test_a_wrong_record_is_named_by_its_place(tmp_path: Path) -> None:
    document = deepcopy(MANIFEST)
    document["tagging"]["thresholds"] = [2.0]
    with pytest.raises(BundleError, match=r"bundle\.json: tagging\.thresholds\.0: .*equal to 1"):
        written(document, tmp_path)


def test_records_are_found_by_their_kind(tmp_path: Path) -> None:
    bundle = written(MANIFEST, tmp_path)
    assert [*bundle.meanings] == ["tags", "tokens", "latents"]
    assert isinstance(bundle.tagging, Tagging) and bundle.meaning(Tagging) is bundle.tagging
    assert isinstance(bundle.tokenizer, Tokenizer) and isinstance(bundle.joint, Joint)
    session = Nothing(Description.of(bundle, bundle.artefacts[0]))
    assert require_output(session, Joint) is bundle.joint
    del session.outputs["latents"]
    with pytest.raises(BundleError, match="shares no space with texts"):
        require_output(session, Joint)


def test_a_fourth_output_is_carried_by_all(beats: type[Beats], tmp_path: Path) -> None:
    document = deepcopy(MANIFEST) | {"meter": {"columns": 2}}
    document["artefacts"][0]["outputs"].append(BEATS_SPEC)
    bundle = written(document, tmp_path)
    meter = bundle.meaning(beats)
    assert meter == Beats(columns=2)
    assert bundle.artefacts[0].digest != DIGEST
    bundle.save(tmp_path)
    assert json.loads((tmp_path / "bundle.json").read_text())["meter"] == {"columns": 2}
    assert load_bundle(tmp_path) == bundle

    session = Nothing(Description.of(bundle, bundle.artefacts[0]))
    assert require_output(session, beats) is meter

    contract = contract_of(bundle)
    parameters = contract.to_parameters()
    assert parameters["muqrt.meter"] == '{"columns":2}'
    assert Contract.from_parameters(parameters) == contract
    assert contract.description.meanings["beats"] == meter


def test_a_fourth_output_is_checked_and_gated(beats: type[Beats], tmp_path: Path) -> None:
    document = deepcopy(MANIFEST) | {"meter": {"columns": 3}}
    with pytest.raises(BundleError, match=r"outputs 'beats' are \[\]; by the meter"):
        written(document, tmp_path)
    document["artefacts"][0]["outputs"].append(BEATS_SPEC)
    with pytest.raises(BundleError, match=r"outputs 'beats' are .* 2\].*; by the meter: .* 3\]"):
        written(document, tmp_path)
    del document["meter"]
    with pytest.raises(BundleError, match=r"by the meter: \[\]"):
        written(document, tmp_path)
    plain = Nothing(Description([], [], written(MANIFEST, tmp_path).framing))
    with pytest.raises(BundleError, match="--beats"):
        require_output(plain, beats)

    measured = measurement("beats", 0, 9, 1e-4)
    assert measured.passes(THRESHOLDS["fp32"])
    assert not measured.model_copy(update={"largest_difference": 2e-4}).passes(THRESHOLDS["fp32"])
    certificate = Certificate(
        precision="fp32",
        artefact_sha256="",
        reference="",
        created="",
        environment={},
        measurements=[measured],
        passed=True,
    )
    assert certificate.worst.largest_tag_change == 1e-4


def test_an_output_that_is_not_registered_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="meter: Extra inputs"):
        written(MANIFEST | {"meter": {"columns": 2}}, tmp_path)
    with pytest.raises(BundleError, match="meanings"):
        written(MANIFEST | {"meanings": {"tags": MANIFEST["tagging"]}}, tmp_path)
    with pytest.raises(ValidationError):
        Bundle(**MANIFEST | {"tagging": None, "meanings": {"tags": 3}})


def test_numbers_in_place_of_tokens_are_no_proof() -> None:
    numbers = measurement("tokens", 1, 0, 0)
    assert not numbers.passes(THRESHOLDS["int8"])


def test_records_keep_the_registrys_order() -> None:
    tagging, joint = Tagging(**MANIFEST["tagging"]), Joint(**MANIFEST["joint"])
    assert [*explained(joint, None, tagging)] == ["tags", "latents"]
