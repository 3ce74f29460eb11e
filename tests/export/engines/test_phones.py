"""Files for phones: proven by the engine that a phone has, or refused in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.errors import BundleError, SessionError
from muqrt.export.bundle.recipe import add
from muqrt.export.engines.phones.executorch import ExecuTorchRecipe
from muqrt.export.engines.phones.litert import LiteRtRecipe
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import load_tag_head
from muqrt.reference.checkpoint import Checkpoint
from muqrt.runtime.bundle.certificate import THRESHOLDS, Precision
from muqrt.runtime.bundle.engine_options import window_of
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.open_session import open_session

Command = Callable[..., CompletedProcess[str]]
WINDOW_SAMPLES = 24_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["executorch", "--precision", "fp16"], "executorch is built in int8, fp32."),
        (["executorch", "--window-seconds", "10"], "options of TensorRT go with"),
        (["litert", "--precision", "bf16"], "litert is built in int8, fp32."),
        (["litert", "--window-seconds", "5,10,30"], "windows of one length; give one number."),
        (["litert", "--window-seconds", "long"], "windows of one length; give one number."),
        (["litert", "--window-seconds", "0.01"], "the model needs at least 0.043 s"),
        (["litert", "--window-seconds", "nan"], "window_seconds"),
        (["litert", "--batch", "2"], "--batch: options of TensorRT that litert does not have."),
    ],
)
def test_what_cannot_be_built(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path, options: list[str], said: str
) -> None:
    done = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, "--engine", *options)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1
    assert [each.name for each in load_bundle(bundle_copy).artefacts] == ["onnx-fp32"]


@pytest.mark.parametrize(
    ("engine", "package"),
    [("executorch", "executorch.exir"), ("litert", "litert_torch"), ("coreml", "coremltools")],
)
def test_without_the_package_the_error_says_what_to_install(
    muqrt: Command,
    bundle_copy: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, "--engine", engine)
    assert done.returncode == 3 and f"pip install 'muqrt[{engine}]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [*bundle_copy.glob(".build*")]


@pytest.mark.full
@pytest.mark.parametrize(
    ("engine", "precision"),
    [("executorch", "fp32"), ("executorch", "int8"), ("litert", "fp32"), ("litert", "int8")],
)
def test_certified_with_tags_beside_the_onnx_artefact(
    checkpoint: Checkpoint,
    bundle_copy: Path,
    tagged_copy: Path,
    tiny_head: Path,
    very_short_music: list[Excerpt],
    engine: str,
    precision: Precision,
) -> None:
    pytest.importorskip(
        {"executorch": "executorch.exir", "litert": "litert_torch"}[engine],
        reason=f"pip install 'muqrt[{engine}]'",
    )
    recipe = {
        "executorch": lambda: ExecuTorchRecipe(precision),
        "litert": lambda: LiteRtRecipe(precision, window_of("1", 10)),
    }[engine]()
    # The tiny head is so sharp that with 8 bits its tags miss the gate, as they should.
    is_tagged = precision == "fp32"
    folder = tagged_copy if is_tagged else bundle_copy
    bundle, head = load_bundle(folder), load_tag_head(tiny_head) if is_tagged else None
    add(bundle, recipe, Proof(checkpoint, head, music=very_short_music))
    first, added = load_bundle(folder).artefacts
    assert added.name == f"{engine}-{precision}" and added.certified
    assert [each.name for each in added.outputs] == [
        *("features", "embedding"),
        *["tags"] * is_tagged,
    ]
    assert added.level == first.level
    waveform = np.stack([each.waveform[0, :WINDOW_SAMPLES] for each in very_short_music[:1] * 2])
    waveform[1] = waveform[1, ::-1]
    with open_session(bundle, first) as onnx, open_session(bundle, added, threads=1) as session:
        expected, found = (each.run({"waveform": waveform}) for each in (onnx, session))
        limit = THRESHOLDS[precision].relative_l2
        error = np.linalg.norm(found["features"] - expected["features"])
        assert error <= limit * np.linalg.norm(expected["features"])
        once = session.run({"waveform": waveform}, ["features"])
        np.testing.assert_array_equal(once["features"], found["features"])
        too_short = np.zeros((1, 1_100), np.float32)
        with pytest.raises(SessionError, match=f"{added.name} takes .*, not 0.0458333 s"):
            session.run({"waveform": too_short})
        if engine == "executorch":
            odd = waveform[:, :9_999]
            exact, ours = (each.run({"waveform": odd})["features"] for each in (onnx, session))
            assert np.linalg.norm(ours - exact) <= limit * np.linalg.norm(exact)
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": waveform})
    path = folder / added.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="has changed"):
        open_session(bundle, added)


@pytest.mark.full
@pytest.mark.parametrize("engine", ["executorch", "litert"])
def test_the_whole_command_and_a_proof_without_the_checkpoint(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path, engine: str
) -> None:
    pytest.importorskip(
        {"executorch": "executorch.exir", "litert": "litert_torch"}[engine],
        reason=f"pip install 'muqrt[{engine}]'",
    )
    window = ["--window-seconds", "1"] if engine == "litert" else []
    given = ["--checkpoint", tiny_checkpoint, "--precision", "fp32"]
    done = muqrt("build", bundle_copy, "--engine", engine, *given, *window, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["certificate"]["passed"]
    assert muqrt("parity", bundle_copy).returncode == 0
