"""A bundle is trusted only when its manifest, its hashes and its certificate all hold."""

import json
import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from muqrt.common.files import sha256
from muqrt.errors import BundleError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.record import RelativeFile

MODEL = "muq.onnx"
OUTSIDE = ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "C:x", "C:/x", ""]

Document = dict[str, Any]

_SPECS = {
    "level": 1,
    "inputs": [{"name": "waveform", "dtype": "float32", "shape": ["batch", "samples"]}],
    "outputs": [
        {"name": "features", "dtype": "float32", "shape": ["batch", "steps", 8]},
        {"name": "tags", "dtype": "float32", "shape": ["batch", 1]},
        {"name": "tokens", "dtype": "int32", "shape": ["batch", 8, "whole_steps"]},
    ],
}
# A manifest as version 0.1.0 wrote it, with an artefact of each kind that has a record of its own.
EARLIER: Document = {
    "created_by": "muqrt 0.1.0",
    "source": {"checkpoint": "a checkpoint", "sha256": "1" * 64, "parameters": 3},
    "architecture": {"encoder_dim": 8},
    "framing": {
        "sample_rate_hz": 24_000,
        "hop_samples": 240,
        "step_samples": 960,
        "minimum_samples": 1_025,
        "window_samples": 720_000,
    },
    "tagging": {
        "task": "tagging",
        "vocabulary": ["guitar"],
        "thresholds": [0.5],
        "window_seconds": 10.0,
        "head_sha256": "2" * 64,
        "figures": {},
    },
    "tokenizer": {"stages": 8, "codes": 1024, "level": None, "rvq_sha256": "3" * 64},
    "artefacts": [
        {
            "name": "onnx-int8",
            "engine": "onnxruntime",
            "precision": "int8",
            "target": "cpu",
            "file": "muq-int8.onnx",
            "files": {"muq-int8.onnx": "4" * 64},
            "quantization": {
                "calibrated_on": ["song.flac"],
                "calibrated_seconds": 10.0,
                "accuracy": None,
                "sites": [
                    {
                        "name": "front_end",
                        "int8": True,
                        "macs_per_step": 5,
                        "worst_frame_cosine": 0.999,
                        "relative_l2": 0.01,
                    }
                ],
            },
            **_SPECS,
        },
        {
            "name": "onnx-fp16",
            "engine": "onnxruntime",
            "precision": "fp16",
            "target": "any",
            "file": "muq-fp16.onnx",
            "files": {"muq-fp16.onnx": "5" * 64},
            "mixed_precision": {
                "measured_on": ["song.flac"],
                "measured_seconds": 10.0,
                "half_nodes": 2,
                "float32_nodes": {"Softmax": 1},
                "kept": [],
                "largest": {"conformer/layer_0": 12.5},
                "emulation": {
                    "worst_frame_cosine": 0.9999,
                    "relative_l2": 0.001,
                    "largest_tag_change": 0.001,
                    "equal_tokens": 1.0,
                },
            },
            **_SPECS,
        },
    ],
}


def edit(folder: Path, change: Callable[[Document], None]) -> None:
    manifest = folder / "bundle.json"
    document = json.loads(manifest.read_text())
    change(document)
    manifest.write_text(json.dumps(document))


def refusal(folder: Path, name: str = "bundle.json") -> str:
    """The message with which loading and verifying is refused; it names the file."""
    with pytest.raises(BundleError) as caught:
        bundle = load_bundle(folder)
        bundle.verify(bundle.artefact())
    assert str(folder) in str(caught.value)
    assert name in str(caught.value)
    return str(caught.value)


def test_a_bundle_survives_being_saved(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    bundle.verify(bundle.artefact())
    bundle.save(tmp_path)
    assert (tmp_path / "bundle.json").read_bytes() == (tiny_bundle / "bundle.json").read_bytes()
    assert load_bundle(tmp_path).model_dump() == bundle.model_dump()


def test_the_manifest_does_not_say_where_it_is(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda document: document.update(folder="/etc"))
    assert load_bundle(str(bundle_copy)).folder == bundle_copy


@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_a_changed_byte(bundle_copy: Path, position: float) -> None:
    content = bytearray((bundle_copy / MODEL).read_bytes())
    content[int(position * len(content))] ^= 1
    (bundle_copy / MODEL).write_bytes(content)
    assert "has changed" in refusal(bundle_copy, MODEL)


def test_a_missing_file(bundle_copy: Path) -> None:
    (bundle_copy / MODEL).unlink()
    assert "is missing" in refusal(bundle_copy, MODEL)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_points_outside(bundle_copy: Path, name: str) -> None:
    def point(document: Document) -> None:
        artefact = document["artefacts"][0]
        artefact["file"] = name
        artefact["files"] = {name: artefact["files"][MODEL]}

    edit(bundle_copy, point)
    assert f"{name!r} points outside" in refusal(bundle_copy)


@pytest.mark.parametrize("name", OUTSIDE)
def test_further_files_that_point_outside(bundle_copy: Path, name: str) -> None:
    edit(bundle_copy, lambda document: document["artefacts"][0]["files"].update({name: "0" * 64}))
    assert f"{name!r} points outside" in refusal(bundle_copy)


@pytest.mark.parametrize("target", ["../elsewhere.onnx", MODEL], ids=["outside", "itself"])
def test_a_link_that_leads_nowhere_good(bundle_copy: Path, target: str) -> None:
    (bundle_copy / MODEL).rename(bundle_copy.parent / "elsewhere.onnx")
    (bundle_copy / MODEL).symlink_to(target)
    message = refusal(bundle_copy, MODEL)
    assert "leads outside" in message or "is missing" in message


def test_a_link_that_stays_inside(bundle_copy: Path) -> None:
    (bundle_copy / "weights").mkdir()
    (bundle_copy / MODEL).rename(bundle_copy / "weights" / MODEL)
    (bundle_copy / MODEL).symlink_to(f"weights/{MODEL}")
    bundle = load_bundle(bundle_copy)
    bundle.verify(bundle.artefact())


PARTS = st.sampled_from(["..", ".", "", "a", "\\", "C:", "~", "\0", MODEL]) | st.text(max_size=4)


@example(["..", "x"])
@example([MODEL])
@given(st.lists(PARTS, max_size=5))
def test_a_name_that_is_accepted_stays_inside(tiny_bundle: Path, parts: list[str]) -> None:
    name = "/".join(parts)
    bundle = Bundle.model_construct(folder=tiny_bundle)
    try:
        found: Path | None = bundle.path(name)
    except BundleError:
        found = None
    assert found in (None, (tiny_bundle / MODEL).resolve(), (tiny_bundle / "bundle.json").resolve())
    try:
        TypeAdapter(RelativeFile).validate_python(name)
    except ValidationError:
        return
    joined = os.path.normpath(f"/bundle/{name}")
    assert Path(joined).is_relative_to("/bundle")
    assert not PureWindowsPath(name).anchor and ".." not in PureWindowsPath(name).parts


def test_a_model_without_a_hash(bundle_copy: Path) -> None:
    def forget(document: Document) -> None:
        document["artefacts"][0]["files"] = {"other.onnx": "0" * 64}

    edit(bundle_copy, forget)
    assert f"{MODEL} has no SHA-256" in refusal(bundle_copy)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, None])
def test_a_hash_that_is_none(bundle_copy: Path, digest: str | None) -> None:
    edit(bundle_copy, lambda document: document["artefacts"][0]["files"].update({MODEL: digest}))
    assert MODEL in refusal(bundle_copy)


@pytest.mark.parametrize("dtype", ["", "/etc/passwd", "float33", "O", "f4,f4", None])
def test_a_dtype_that_is_none(bundle_copy: Path, dtype: str | None) -> None:
    edit(bundle_copy, lambda document: document["artefacts"][0]["outputs"][0].update(dtype=dtype))
    assert "artefacts.0.outputs.0.dtype" in refusal(bundle_copy)


@pytest.mark.parametrize("version", [2, 0, None, "1", [1]])
def test_an_unknown_version(bundle_copy: Path, version: object) -> None:
    edit(bundle_copy, lambda document: document.update(format_version=version))
    assert f"format version {version!r}" in refusal(bundle_copy)


@pytest.mark.parametrize(
    "content",
    [b"", b"once upon a time", b'{"format_version": 1', b"\xff\xfe{}", b"[" * 10**5, b"1" * 5000],
    ids=["empty", "text", "cut", "not UTF-8", "too deep", "too long a number"],
)
def test_a_manifest_that_is_not_json(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / "bundle.json").write_bytes(content)
    assert "not JSON" in refusal(bundle_copy)


def test_a_manifest_that_is_json_but_no_object(bundle_copy: Path) -> None:
    (bundle_copy / "bundle.json").write_text('["format_version"]')
    assert "format version None" in refusal(bundle_copy)


def test_a_manifest_larger_than_any(bundle_copy: Path) -> None:
    with (bundle_copy / "bundle.json").open("r+b") as file:
        file.truncate((16 << 20) + 1)
    assert "larger than any manifest" in refusal(bundle_copy)


@pytest.mark.parametrize(
    "where", [(), ("source",), ("artefacts", 0), ("artefacts", 0, "certificate")]
)
def test_a_field_nobody_knows(bundle_copy: Path, where: tuple[str | int, ...]) -> None:
    def add(document: Document) -> None:
        record: Any = document
        for key in where:
            record = record[key]
        record["colour"] = "blue"

    edit(bundle_copy, add)
    message = refusal(bundle_copy)
    assert ".".join(map(str, (*where, "colour"))) in message


def test_a_field_that_is_missing(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda document: document["framing"].pop("hop_samples"))
    assert "framing.hop_samples" in refusal(bundle_copy)


def test_an_artefact_without_a_certificate(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda document: document["artefacts"][0].update(certificate=None))
    assert "no passing parity certificate" in refusal(bundle_copy, "onnx-fp32")
    with pytest.raises(BundleError, match="muqrt parity"):
        load_bundle(bundle_copy).artefact("onnx-fp32")
    bundle = load_bundle(bundle_copy)
    for name in (None, "onnx-fp32"):
        bundle.verify(bundle.artefact(name, allow_uncertified=True))


def test_a_forged_verdict(bundle_copy: Path) -> None:
    def spoil(document: Document) -> None:
        document["artefacts"][0]["certificate"]["measurements"][0]["relative_l2"] = 1.0

    edit(bundle_copy, spoil)
    assert "its own figures say otherwise" in refusal(bundle_copy)


def test_a_failed_verdict(bundle_copy: Path) -> None:
    def fail(document: Document) -> None:
        certificate = document["artefacts"][0]["certificate"]
        certificate["measurements"][0]["relative_l2"] = 1.0
        certificate["passed"] = False

    edit(bundle_copy, fail)
    assert "no passing parity certificate" in refusal(bundle_copy, "onnx-fp32")


def test_a_certificate_of_other_files(bundle_copy: Path) -> None:
    with (bundle_copy / MODEL).open("ab") as file:
        file.write(b"more")
    digest = sha256(bundle_copy / MODEL)
    edit(bundle_copy, lambda document: document["artefacts"][0]["files"].update({MODEL: digest}))
    assert "no passing parity certificate" in refusal(bundle_copy, "onnx-fp32")


def test_a_certificate_of_another_precision(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda document: document["artefacts"][0].update(precision="fp16"))
    assert "no passing parity certificate" in refusal(bundle_copy, "onnx-fp32")


def test_the_first_certified_artefact_is_chosen(bundle_copy: Path) -> None:
    def add(document: Document) -> None:
        certified = document["artefacts"][0]
        document["artefacts"].insert(0, certified | {"name": "new", "certificate": None})

    edit(bundle_copy, add)
    bundle = load_bundle(bundle_copy)
    assert bundle.artefact().name == "onnx-fp32"
    assert bundle.artefact(allow_uncertified=True).name == "new"


def test_an_artefact_that_is_not_there(bundle_copy: Path) -> None:
    with pytest.raises(BundleError, match="no artefact 'int8'; it has: onnx-fp32"):
        load_bundle(bundle_copy).artefact("int8")
    edit(bundle_copy, lambda document: document.update(artefacts=[]))
    with pytest.raises(BundleError, match="no artefact; export it again"):
        load_bundle(bundle_copy).artefact()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"sample_rate_hz": 24000', '"sample_rate_hz": 44100'),
        ('"window_samples": 720000', '"window_samples": 240000'),
        ('"level": 12', '"level": 11'),
    ],
)
def test_a_changed_statement_undoes_the_certificate(
    bundle_copy: Path, before: str, after: str
) -> None:
    manifest = bundle_copy / "bundle.json"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after))
    with pytest.raises(BundleError, match="no passing parity certificate"):
        load_bundle(bundle_copy).artefact()


def test_an_output_that_was_not_measured_undoes_the_certificate(bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    (artefact,) = bundle.artefacts
    assert artefact.certificate is not None
    some = [each for each in artefact.certificate.measurements if each.output == "features"]
    artefact.certificate = artefact.certificate.model_copy(update={"measurements": some})
    bundle.save(bundle_copy)
    with pytest.raises(BundleError, match="no passing parity certificate"):
        load_bundle(bundle_copy).artefact()


def test_a_bundle_without_tags_need_not_mention_them(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda document: document.pop("tagging"))
    bundle = load_bundle(bundle_copy)
    assert bundle.tagging is None
    bundle.verify(bundle.artefact())


def change_tagging(folder: Path, **fields: object) -> None:
    edit(folder, lambda document: document["tagging"].update(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"thresholds": [0.5, 0.25, 0.5, 0.75, 0.5, 0.91]},
        {"vocabulary": ["piano", "guitar", "cello & bass", "[red]drums[/red]", "日本", "quiet"]},
        {"window_seconds": 3.0},
        {"task": "mood"},
        {"head_sha256": "0" * 64},
        {"figures": {"average precision": 0.99}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_changed_tags_undo_the_certificate(tagged_copy: Path, fields: Document) -> None:
    assert load_bundle(tagged_copy).artefact().certified
    change_tagging(tagged_copy, **fields)
    with pytest.raises(BundleError, match="no passing parity certificate"):
        load_bundle(tagged_copy).artefact()


def test_a_vocabulary_of_another_size_is_refused(tagged_copy: Path) -> None:
    change_tagging(tagged_copy, vocabulary=["guitar", "piano"], thresholds=[0.5, 0.5])
    assert "outputs 'tags' are [('float32', ['batch', 6])]; by the tagging" in refusal(tagged_copy)


def test_tags_without_a_vocabulary_are_refused(tagged_copy: Path) -> None:
    edit(tagged_copy, lambda document: document.update(tagging=None))
    assert "outputs 'tags'" in refusal(tagged_copy)


def test_a_vocabulary_without_tags_is_refused(bundle_copy: Path, tagged_bundle: Path) -> None:
    tagging = json.loads((tagged_bundle / "bundle.json").read_text())["tagging"]
    edit(bundle_copy, lambda document: document.update(tagging=tagging))
    assert "outputs 'tags' are []; by the tagging" in refusal(bundle_copy)


@pytest.mark.parametrize(
    "fields",
    [
        {"vocabulary": ["guitar", "piano", "guitar", "drums", "harp", "quiet"]},
        {"vocabulary": []},
        {"vocabulary": ["a\u0007", "b", "c", "d", "e", "f"]},
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 0.25, 0.5, 0.75, 0.5, -0.1]},
        {"window_seconds": 1e9},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_tags_that_make_no_sense_are_refused(tagged_copy: Path, fields: Document) -> None:
    change_tagging(tagged_copy, **fields)
    assert "tagging" in refusal(tagged_copy)


def test_certificates_of_earlier_versions_stay_good() -> None:
    """They are bound to a hash of the manifest's own words: a new field has to leave it alone."""
    bundle = Bundle(**EARLIER)
    assert [artefact.digest for artefact in bundle.artefacts] == [
        "e3d8fff56f2f9ea7cf00fc7d8f73248938dd83b57f6aeff2b626df67b7ca1fb3",
        "e6ecad1377f80c1673f6e35f7713695fdc5a4e933793752fc25b9db89f659dcf",
    ]
