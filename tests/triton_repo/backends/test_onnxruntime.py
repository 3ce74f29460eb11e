"""The drop-in backend's own logic, with a stand-in for the module that Triton provides."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import muqrt.triton_repo
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.triton_repo.repository.write import write_repository

ALL = ["features", "embedding", "hidden_states"]


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    @classmethod
    def from_dlpack(cls, name: str, buffer: Any) -> "Tensor":
        return cls(name, buffer._array)


class TritonError:
    INVALID_ARG, CANCELLED, INTERNAL = "INVALID_ARG", "CANCELLED", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        self.message, self.code = message, code


class InferenceResponse:
    def __init__(self, tensors: list[Tensor], error: TritonError | None = None) -> None:
        self.outputs = {tensor.name: tensor.array for tensor in tensors}
        self.error = error


class Request:
    def __init__(
        self, waveform: np.ndarray, outputs: list[str] | None = None, cancelled: bool = False
    ) -> None:
        self.waveform, self.outputs, self.cancelled = waveform, outputs or ALL, cancelled

    def requested_output_names(self) -> list[str]:
        return self.outputs

    def is_cancelled(self) -> bool:
        return self.cancelled


class Recorder:
    """An ONNX Runtime session that remembers its runs."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.runs: list[tuple[list[str], tuple[int, ...]]] = []

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
        self.runs.append((names, feed["waveform"].shape))
        return self.session.run(names, feed)


@pytest.fixture
def model(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    write_repository(bundle, tmp_path)
    utils = ModuleType("triton_python_backend_utils")
    vars(utils).update(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=InferenceResponse,
        get_input_tensor_by_name=lambda request, name: request.waveform,
    )
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    path = Path(muqrt.triton_repo.__file__).parent / "backends" / "onnxruntime" / "model.py"
    spec = importlib.util.spec_from_file_location("drop_in", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded = module.TritonPythonModel()
    framing = {"string_value": bundle.framing.model_dump_json()}
    config = {
        "input": [{"name": "waveform"}],
        "default_model_filename": "model.onnx",
        "parameters": {"muqrt.framing": framing, "intra_op_thread_count": {"string_value": "1"}},
    }
    loaded.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(tmp_path / "muq"),
            "model_version": "1",
        }
    )
    loaded._session = Recorder(loaded._session)
    yield loaded
    loaded.finalize()


def test_the_drop_in_imports_nothing_of_ours() -> None:
    path = Path(muqrt.triton_repo.__file__).parent / "backends" / "onnxruntime" / "model.py"
    imports = [
        line for line in path.read_text().splitlines() if line.startswith(("import", "from"))
    ]
    assert not any("muqrt" in line or line.startswith("from .") for line in imports)


def test_equal_lengths_share_a_run_and_each_gets_its_own(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    waveforms = [waveform(4_800, 2, 1), waveform(9_600, 1, 2), waveform(4_800, 1, 3)]
    together = model.execute([Request(each) for each in waveforms])
    assert sorted(shape for _, shape in model._session.runs) == [(1, 9_600), (3, 4_800)]
    for answer, each in zip(together, waveforms, strict=True):
        (alone,) = model.execute([Request(each)])
        for name in ALL:
            np.testing.assert_allclose(answer.outputs[name], alone.outputs[name], atol=1e-6)


def test_only_what_was_requested_is_computed_and_answered(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    audio = waveform(4_800)
    answers = model.execute([Request(audio, ["embedding"]), Request(audio, ["features"])])
    assert [list(each.outputs) for each in answers] == [["embedding"], ["features"]]
    assert model._session.runs == [(["embedding", "features"], (2, 4_800))]


def test_tokens_alone_come_from_the_graph_of_their_own(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    class Tokens:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
            return [np.full((len(feed["waveform"]), 8, 5), 7, np.int32) for _ in names]

    model._tokens_session = Tokens()
    requests = [Request(waveform(4_800), ["tokens"]), Request(waveform(4_800), ["tokens"])]
    for answer in model.execute(requests):
        assert list(answer.outputs) == ["tokens"]
        assert (answer.outputs["tokens"] == 7).all()
    assert not model._session.runs


def test_bad_requests_do_not_harm_the_others(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    poisoned = waveform(4_800)
    poisoned[0, 7] = np.inf
    short, bad, gone, good = model.execute(
        [
            Request(waveform(1_024)),
            Request(poisoned),
            Request(waveform(4_800), cancelled=True),
            Request(waveform(4_800)),
        ]
    )
    assert short.error.code == bad.error.code == "INVALID_ARG"
    assert "1024 samples; the model needs at least 1025" in short.error.message
    assert "not finite" in bad.error.message
    assert gone.error.code == "CANCELLED"
    assert good.error is None
    assert np.isfinite(good.outputs["features"]).all()
    assert model._session.runs[-1][1] == (1, 4_800)


def test_a_failing_run_answers_everyone_with_its_error(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    model._session.run = fail
    answers = model.execute([Request(waveform(4_800)), Request(waveform(4_800))])
    assert [each.error.code for each in answers] == ["INTERNAL", "INTERNAL"]
    assert "out of memory" in answers[0].error.message
