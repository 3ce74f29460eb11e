import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from muqrt.errors import BundleError, ParityError
from muqrt.export import bundle_from_checkpoint as module
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.muq import MuQ
from muqrt.runtime.bundle.manifest import load_bundle

GRAPHS = {"muq.onnx", "muq-front-end.onnx", "muq-encoder.onnx"}
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def checkpoint(tiny: MuQ) -> Checkpoint:
    return Checkpoint(tiny, "tiny", "0" * 64)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_bundle_says_what_it_is(
    checkpoint: Checkpoint, short_music: list[Excerpt], tmp_path: Path
) -> None:
    proof = Proof(checkpoint, music=short_music[:1])
    written = bundle_from_checkpoint(
        proof, tmp_path / "bundle", ["features"], level=3, window_seconds=10
    )
    assert files(tmp_path) == {"bundle"}
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded == written
    artefact = loaded.artefact()
    loaded.verify(artefact)
    assert (artefact.level, artefact.precision) == (3, "fp32")
    assert [spec.name for spec in artefact.outputs] == ["features"]
    assert loaded.framing.window_samples == 240_000
    assert loaded.framing.steps_per_second == 25
    assert loaded.source.parameters == checkpoint.parameters


def test_a_bundle_without_music_has_no_certificate(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")
    with pytest.raises(BundleError, match="no passing parity certificate"):
        bundle.artefact()


def test_an_older_bundle_is_replaced_whole(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=1)
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=2)
    assert load_bundle(tmp_path / "bundle").artefacts[0].level == 2
    assert files(tmp_path / "bundle") == {"bundle.json", *GRAPHS}
    assert files(tmp_path) == {"bundle"}


def test_a_failed_gate_leaves_the_older_bundle(
    checkpoint: Checkpoint,
    short_music: list[Excerpt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")
    before = (tmp_path / "bundle" / "bundle.json").read_bytes()
    build = module.onnx_from_checkpoint
    # Build the graph of another level than the one the certificate is for.
    monkeypatch.setattr(
        module, "onnx_from_checkpoint", lambda m, o, level, *_, **__: build(m, o, level - 1)
    )
    with pytest.raises(ParityError, match="does not match the reference"):
        bundle_from_checkpoint(Proof(checkpoint, music=short_music[:1]), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == before
    assert files(tmp_path) == {"bundle"}


def test_a_folder_of_something_else_is_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BundleError, match="not empty"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path)
    assert files(tmp_path) == {"thesis.tex"}


def test_files_beside_a_bundle_are_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")
    (tmp_path / "bundle" / "notes.md").touch()
    with pytest.raises(BundleError, match="not empty"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")
    assert "notes.md" in files(tmp_path / "bundle")


def test_another_programs_bundle_json_is_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"name": "app"}')
    (tmp_path / "app.js").touch()
    with pytest.raises(BundleError, match="not empty"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path)
    assert files(tmp_path) == {"bundle.json", "app.js"}


def test_a_file_in_the_way(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "bundle").touch()
    with pytest.raises(BundleError, match="a file is in the way"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")


def test_too_little_room_is_said_before_anything_is_written(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 1000))
    with pytest.raises(BundleError, match="MB free"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path / "a" / "bundle")
    assert files(tmp_path) == set()
