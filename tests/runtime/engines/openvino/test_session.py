"""OpenVINO answers as ONNX Runtime does, for any length, and says so when it cannot."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import muqrt
from muqrt.errors import BundleError, MissingDependencyError, SessionError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.engines.openvino.session import ENCODER_FILE, OpenVinoSession
from muqrt.runtime.engines.session import Session

openvino = pytest.importorskip("openvino", reason="pip install 'muqrt[openvino]'")

LONGEST_SAMPLES = 50_000


@pytest.fixture(scope="module")
def folder(
    token_bundle: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle with tokens, to which an fp32 artefact for OpenVINO was added, uncertified."""
    from muqrt.export.bundle.recipe import add
    from muqrt.export.engines.openvino import OpenVinoRecipe
    from muqrt.export.parity.proof import Proof
    from muqrt.export.sources.rvq import own_rvq
    from muqrt.reference.checkpoint import load_checkpoint

    copy = shutil.copytree(token_bundle, tmp_path_factory.mktemp("openvino") / "bundle")
    checkpoint = load_checkpoint(tiny_checkpoint)
    proof = Proof(checkpoint, rvq=own_rvq(checkpoint))
    add(load_bundle(copy), OpenVinoRecipe("fp32"), proof)
    return copy


def opened(bundle: Bundle, **changes: str) -> OpenVinoSession:
    artefact = bundle.artefact("openvino-fp32", allow_uncertified=True)
    return OpenVinoSession(bundle, artefact.model_copy(update=changes), threads=1)


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[OpenVinoSession]:
    with opened(load_bundle(folder)) as session:
        yield session


@pytest.fixture(scope="module")
def onnx_session(folder: Path) -> Iterator[Session]:
    bundle = load_bundle(folder)
    with OnnxSession(bundle, bundle.artefact(), threads=1) as session:
        yield session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@settings(max_examples=8, deadline=None)
@given(batch=st.integers(1, 3), samples=st.integers(1_025, LONGEST_SAMPLES))
def test_any_batch_and_length_gives_what_onnx_runtime_gives(
    session: Session, onnx_session: Session, batch: int, samples: int
) -> None:
    inputs = {"waveform": noise(batch, samples)}
    expected, found = onnx_session.run(inputs), session.run(inputs)
    assert list(found) == ["features", "tokens"]
    np.testing.assert_allclose(found["features"], expected["features"], rtol=1e-3, atol=1e-4)
    assert found["tokens"].dtype == np.int32
    assert found["tokens"].shape == expected["tokens"].shape
    assert (found["tokens"] == expected["tokens"]).mean() > 0.99


@pytest.mark.parametrize("samples", [14_640, 15_500])  # 16 steps, as wide as a head, and 17
def test_one_step_does_not_spoil_what_follows(
    folder: Path, onnx_session: Session, samples: int
) -> None:
    waveform = noise(1, samples)
    expected = onnx_session.run({"waveform": waveform}, ["features"])["features"]
    with opened(load_bundle(folder)) as session:
        session.run({"waveform": noise(3, 1_177)})
        found = session.run({"waveform": waveform}, ["features"])["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_results_are_the_callers_to_keep(session: Session) -> None:
    first = session.run({"waveform": noise(1, 24_000)}, ["features"])["features"]
    kept = first.copy()
    session.run({"waveform": 0.1 * noise(1, 24_000)}, ["features"])
    np.testing.assert_array_equal(first, kept)


def test_only_requested_outputs_are_returned(session: Session) -> None:
    waveform = noise(2, 9_999).T.copy().T  # not contiguous
    both = session.run({"waveform": waveform}, ["tokens", "features"])
    assert list(both) == ["tokens", "features"]
    alone = session.run({"waveform": waveform}, ["tokens"])
    np.testing.assert_array_equal(alone["tokens"], both["tokens"])


def test_tokens_need_no_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    class Core(openvino.Core):
        def compile_model(self, model: Any, *options: Any) -> Any:
            compiled.append(model.outputs[0].any_name)
            return super().compile_model(model, *options)

    monkeypatch.setattr(openvino, "Core", Core)
    with opened(load_bundle(folder)) as session:
        session.run({"waveform": noise(1, 24_000)}, ["tokens"])
        assert compiled == ["LogMel", "tokens"]
        session.run({"waveform": noise(1, 24_000)}, ["features"])
        assert compiled[2:4] == ["frames", "conformer/positions/Cos"]
        assert len(compiled) == 5


@settings(max_examples=4, deadline=None)
@given(samples=st.integers(1_025, LONGEST_SAMPLES))
def test_the_parts_are_the_whole(session: Session, samples: int) -> None:
    waveform = noise(2, samples)
    assert session.parts is not None
    frames = session.parts.front_end.run({"waveform": waveform})
    found = session.parts.encoder.run(frames)
    assert list(found) == ["features"]
    whole = session.run({"waveform": waveform}, ["features"])
    np.testing.assert_array_equal(found["features"], whole["features"])


def test_inputs_are_checked(session: Session) -> None:
    with pytest.raises(SessionError, match="float64"):
        session.run({"waveform": np.zeros((1, 24_000))})
    with pytest.raises(SessionError, match="1024 samples"):
        session.run({"waveform": noise(1, 1024)})


def test_a_changed_file_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "bundle")
    with (copy / ENCODER_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=f"{ENCODER_FILE} has changed"):
        opened(load_bundle(copy))


def test_a_closed_session_says_so(folder: Path) -> None:
    session = opened(load_bundle(folder))
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": noise(1, 24_000)})


def test_a_processor_without_bf16_is_told_what_to_choose(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core(openvino.Core):
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(SessionError, match=r"no bf16 arithmetic .*FP32, INT8.* the fp32 one"):
        opened(load_bundle(folder), precision="bf16")
    opened(load_bundle(folder)).close()


def test_without_openvino_the_error_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[openvino\]'"):
        opened(load_bundle(folder))


def test_the_engine_chooses_the_session(folder: Path) -> None:
    bundle = load_bundle(folder)
    kinds = {"onnxruntime": OnnxSession, "openvino": OpenVinoSession}
    for artefact in bundle.artefacts:
        with open_session(bundle, artefact, threads=1) as session:
            assert type(session) is kinds[artefact.engine]
    assert {artefact.engine for artefact in bundle.artefacts} == set(kinds)


def test_a_model_loads_it_by_name(folder: Path, music: Path) -> None:
    song, embeddings = music / "greensleeves_duo.flac", []
    for name in ("onnx-fp32", "openvino-fp32"):
        with muqrt.load(folder, name, threads=1, allow_uncertified=True) as model:
            embeddings.append(model.embed(song))
    np.testing.assert_allclose(*embeddings, rtol=1e-3, atol=1e-4)


def test_other_artefacts_load_no_openvino(folder: Path) -> None:
    code = f"import sys, muqrt; muqrt.load({str(folder)!r}); print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
