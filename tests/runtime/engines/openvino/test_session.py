"""OpenVINO answers as ONNX Runtime does, for any length, and says so when it cannot."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.errors import MissingDependencyError, SessionError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.engines.openvino.session import OpenVinoSession
from muqrt.runtime.engines.session import Session

openvino = pytest.importorskip("openvino", reason="pip install 'muqrt[openvino]'")

LONGEST_SAMPLES = 50_000


def opened(bundle: Bundle, **changes: str) -> OpenVinoSession:
    artefact = bundle.artefact("openvino-fp32", allow_uncertified=True)
    return OpenVinoSession(bundle, artefact.model_copy(update=changes), threads=1)


@pytest.fixture(scope="module")
def session(openvino_folder: Path) -> Iterator[OpenVinoSession]:
    with opened(load_bundle(openvino_folder)) as session:
        yield session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize("samples", [14_640, 15_500])  # 16 steps, as wide as a head, and 17
def test_one_step_does_not_spoil_what_follows(
    openvino_folder: Path, onnx_session: Session, samples: int
) -> None:
    waveform = noise(1, samples)
    expected = onnx_session.run({"waveform": waveform}, ["features"])["features"]
    with opened(load_bundle(openvino_folder)) as session:
        session.run({"waveform": noise(3, 1_177)})
        found = session.run({"waveform": waveform}, ["features"])["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_tokens_need_no_encoder(openvino_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    class Core(openvino.Core):
        def compile_model(self, model: Any, *options: Any) -> Any:
            compiled.append(model.outputs[0].any_name)
            return super().compile_model(model, *options)

    monkeypatch.setattr(openvino, "Core", Core)
    with opened(load_bundle(openvino_folder)) as session:
        session.run({"waveform": noise(1, 24_000)}, ["tokens"])
        assert compiled == ["LogMel", "tokens"]
        session.run({"waveform": noise(1, 24_000)}, ["features"])
        assert compiled[2:4] == ["frames", "conformer/positions/Cos"]
        assert len(compiled) == 5


def test_a_processor_without_bf16_is_told_what_to_choose(
    openvino_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core(openvino.Core):
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(SessionError, match=r"no bf16 arithmetic .*FP32, INT8.* the fp32 one"):
        opened(load_bundle(openvino_folder), precision="bf16")
    opened(load_bundle(openvino_folder)).close()


def test_without_openvino_the_error_says_what_to_install(
    openvino_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[openvino\]'"):
        opened(load_bundle(openvino_folder))
