"""Packages for Core ML: the saved program is interpreted to prove it; nothing here runs it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt import reference
from muqrt.common.files import sha256
from muqrt.errors import BundleError, ParityError, SessionError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.engines.phones import coreml
from muqrt.export.engines.phones.coreml import CoreMlRecipe, converted
from muqrt.export.engines.phones.portable import portable_model
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.engine_options import NEVER_RUN, window_of
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.engines.coreml.program import SavedProgram
from muqrt.runtime.engines.coreml.session import CoreMlInterpretation
from muqrt.runtime.engines.open_session import open_session

Command = Callable[..., CompletedProcess[str]]
WINDOW_SAMPLES = 24_000
MUQ_MINI = Path(reference.__file__).parent / "checkpoints" / "muq-mini"


@pytest.fixture(scope="module")
def coremltools() -> None:
    pytest.importorskip("coremltools", reason="pip install 'muqrt[coreml]'")


@pytest.fixture(scope="module")
def built(
    coremltools: None,
    checkpoint: Checkpoint,
    tiny_bundle: Path,
    very_short_music: list[Excerpt],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny bundle with ``coreml-mixed``. Do not change its files."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("coreml") / "bundle")
    recipe = CoreMlRecipe("fp16", window_of("1", 10))
    add(load_bundle(folder), recipe, Proof(checkpoint, music=very_short_music))
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--precision", "fp16"],
            "relative L2 was 0.24. --precision mixed is fp16 with the log-mel",
        ),
        (["--precision", "int8"], "coreml is built in mixed, fp32."),
        (["--window-seconds", "5,10,30"], "windows of one length; give one number."),
        (["--batch", "2"], "--batch: options of TensorRT that coreml does not have."),
    ],
)
def test_what_cannot_be_built(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path, options: list[str], said: str
) -> None:
    given = ["--checkpoint", tiny_checkpoint, "--engine", "coreml", *options]
    done = muqrt("build", bundle_copy, *given)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1


def test_proven_by_interpretation_and_never_run(
    muqrt: Command, built: Path, tmp_path: Path
) -> None:
    added = load_bundle(built).named("coreml-mixed")
    assert added.certified and added.certificate is not None and len(added.files) == 3
    about = added.certificate.environment
    assert about["interpreted"].endswith(NEVER_RUN) and about["coremltools"].startswith("9.")
    assert NEVER_RUN in added.certificate.where
    said = muqrt("info", built).stdout
    assert f"coreml-mixed: Experimental, {NEVER_RUN}" in " ".join(said.split())
    for path in built.rglob("*.ml*/**/*"):
        assert (
            path.is_dir() or str(Path(coreml.__file__).parents[3]).encode() not in path.read_bytes()
        )

    song, output = tmp_path / "song.wav", tmp_path / "out"
    soundfile.write(song, np.zeros(WINDOW_SAMPLES), WINDOW_SAMPLES)
    for command in (["embed", song, "--bundle", built], ["repository", built]):
        done = muqrt(*command, "-o", output, "--artefact", "coreml-mixed")
        assert done.returncode != 0 and "is for apps on Apple's devices" in done.stderr
        assert done.stderr.count("\n") == 1 and not [*tmp_path.glob("out/*")]


def test_parity_without_a_checkpoint_and_a_changed_weight(
    muqrt: Command, checkpoint: Checkpoint, built: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(built, tmp_path / "bundle")
    with pytest.MonkeyPatch.context() as without:
        without.setitem(sys.modules, "coremltools", None)
        done = muqrt("parity", folder)
    assert done.returncode == 0 and "pip install 'muqrt[coreml]'" in " ".join(done.stdout.split())
    command = ("parity", folder, "--artefact", "coreml-mixed", "--json")
    done = muqrt(*command)
    assert done.returncode == 0, done.stderr
    assert "here" not in json.loads(done.stdout)  # an interpretation has no speed
    bundle = load_bundle(folder)
    added = bundle.named("coreml-mixed")
    (name,) = (each for each in added.files if each.endswith("weight.bin"))
    weight = checkpoint.model.model.conformer.layers[0].ffn1.output_dense.weight.half().numpy()
    content = (folder / name).read_bytes()
    assert content.count(weight.tobytes()) == 1
    (folder / name).write_bytes(content.replace(weight.tobytes(), (-weight).tobytes()))
    with pytest.raises(BundleError, match="has changed"):
        CoreMlInterpretation(bundle, added)
    # With a hash that fits, only the numbers can tell.
    added.files[name] = sha256(folder / name)
    added.certificate = None
    bundle.save(folder)
    done = muqrt(*command)
    assert done.returncode == 1 and "not the reference's numbers: coreml-mixed." in done.stderr


@pytest.mark.full
@pytest.mark.usefixtures("coremltools")
def test_the_whole_command_with_tags(
    muqrt: Command,
    tagged_copy: Path,
    tiny_checkpoint: Path,
    tiny_head: Path,
    very_short_music: list[Excerpt],
) -> None:
    given = ["--checkpoint", tiny_checkpoint, "--head", tiny_head, "--window-seconds", "1"]
    for _ in range(2):  # the second replaces the first
        done = muqrt("build", tagged_copy, "--engine", "coreml", "--precision", "fp32", *given)
        assert done.returncode == 0, done.stderr
        assert NEVER_RUN in done.stdout
    bundle = load_bundle(tagged_copy)
    first, added = bundle.artefacts
    assert added.certified and added.outputs == first.outputs
    waveform = np.stack([each.waveform[0, :WINDOW_SAMPLES] for each in very_short_music[:1] * 2])
    waveform[1] = waveform[1, ::-1]
    with open_session(bundle, first) as onnx, CoreMlInterpretation(bundle, added) as session:
        expected, found = (each.run({"waveform": waveform}) for each in (onnx, session))
        error = np.linalg.norm(found["features"] - expected["features"])
        limit = THRESHOLDS["fp32"].relative_l2
        assert 0 < error <= limit * np.linalg.norm(expected["features"])
        with pytest.raises(SessionError, match=r"takes windows of 1 s, not 0.5 s"):
            session.run({"waveform": waveform[:, :12_000]})
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": waveform})


@pytest.mark.full
@pytest.mark.usefixtures("coremltools")
def test_fp16_throughout_fails_the_gate(
    tmp_path: Path, very_short_music: list[Excerpt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that ships; random weights would hardly notice."""
    folder = shutil.copytree(SHIPPED_BUNDLE, tmp_path / "bundle")
    trained = load_checkpoint(MUQ_MINI)
    monkeypatch.setattr(coreml, "_LOG_MEL", "no such file")
    head = load_tag_head(MUQ_MINI / "tags")
    proof = Proof(trained, head, own_rvq(trained), very_short_music)
    with pytest.raises(ParityError, match=r"coreml-mixed \(fp16\) does not match"):
        add(load_bundle(folder), CoreMlRecipe("fp16", window_of("1", 10)), proof)
    assert not [*folder.glob("*.mlpackage")]


@pytest.mark.full
@pytest.mark.usefixtures("coremltools")
def test_the_log_mel_alone_stays_fp32(
    checkpoint: Checkpoint, bundle_copy: Path, tmp_path: Path
) -> None:
    source = load_bundle(bundle_copy).artefact()
    model = portable_model(source, Proof(checkpoint))
    package = tmp_path / "muq.mlpackage"
    converted(model, WINDOW_SAMPLES, source.outputs, "fp16").save(str(package))
    steps = SavedProgram(package).steps
    (last,) = (index for index, step in enumerate(steps) if step.kind == "log")
    wide = [
        step.kind
        for step in steps[last + 4 :]
        if any(each.dtype == np.float32 for each in step.outputs)
    ]
    assert set(wide) == {"cast"} and len(wide) == len(source.outputs)
    assert all(each.dtype == np.float32 for step in steps[: last + 1] for each in step.outputs)


@pytest.mark.full
@pytest.mark.usefixtures("coremltools")
def test_a_model_with_an_stft_of_its_own_is_refused(
    checkpoint: Checkpoint, bundle_copy: Path
) -> None:
    log_mel = checkpoint.model.model.preprocessor_melspec_2048
    outputs = load_bundle(bundle_copy).artefact().outputs[:1]
    with pytest.raises(UsageError, match="STFT of its own"):
        converted(log_mel, WINDOW_SAMPLES, outputs, "fp32")
