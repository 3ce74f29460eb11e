"""The live model's own logic, with a stand-in for the module that Triton provides."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.triton_repo.contract.config import parameters_of, parse_config
from muqrt.triton_repo.repository.write import write_stream_repository

START, END = 1, 2


class Metric:
    """A metric, or its family."""

    GAUGE, COUNTER = "gauge", "counter"

    def __init__(self, **_: object) -> None:
        self.value = 0.0

    def Metric(self, labels: dict[str, str]) -> "Metric":
        assert labels == {"model": "live", "version": "1"}
        return Metric()

    def set(self, value: float) -> None:
        self.value = value

    def increment(self, value: float) -> None:
        assert value > 0
        self.value += value


class TritonError(SimpleNamespace):
    INVALID_ARG, CANCELLED, INTERNAL = "INVALID_ARG", "CANCELLED", "INTERNAL"
    NOT_FOUND, UNAVAILABLE = "NOT_FOUND", "UNAVAILABLE"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message=message, code=code)


class Response:
    def __init__(self, tensors: list[tuple[str, np.ndarray]], error: Any = None) -> None:
        self.outputs, self.error = dict(tensors), error


class Request:
    """Stream 7's, with a tenth of a second of audio."""

    wanted: ClassVar[list[str]] = ["tags", "seconds", "silent"]

    def __init__(self, flags: int = 0, cancelled: bool = False, level: float = 0.0) -> None:
        self.inputs = {"waveform": np.full((1, 2_400), level, np.float32)}
        self._flags, self._cancelled = flags, cancelled

    def flags(self) -> int:
        return self._flags

    def correlation_id(self) -> int:
        return 7

    def requested_output_names(self) -> list[str]:
        return self.wanted

    def is_cancelled(self) -> bool:
        return self._cancelled


class UnusableError(Exception):
    pass


@pytest.fixture
def utils(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("triton_python_backend_utils")
    classes = (TritonError, UnusableError, Response, Metric)
    names = ("TritonError", "TritonModelException", "InferenceResponse", "MetricFamily")
    vars(module).update(zip(names, classes, strict=True))
    vars(module).update(
        Tensor=SimpleNamespace(from_dlpack=lambda name, shared: (name, np.from_dlpack(shared))),
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=START,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=END,
        get_input_tensor_by_name=lambda request, name: request.inputs.get(name),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [each for each in sys.modules if each.startswith("muqrt.triton_repo.backends.")]:
        monkeypatch.delitem(sys.modules, name)
    return module


@pytest.fixture
def repository(tagged_bundle: Path, tmp_path: Path) -> Path:
    write_stream_repository(load_bundle(tagged_bundle), tmp_path, model_name="live")
    return tmp_path / "live"


def loaded(repository: Path, **changed: str) -> Any:
    """The model, as the server loads it, with some parameters changed."""
    spec = importlib.util.spec_from_file_location("live_model", repository / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    parameters = parameters_of(parse_config((repository / "config.pbtxt").read_text())) | changed
    model.initialize(
        {
            "model_config": json.dumps(
                {"parameters": {k: {"string_value": v} for k, v in parameters.items()}}
            ),
            "model_repository": str(repository),
            "model_version": "1",
            "model_name": "live",
        }
    )
    return model


@pytest.fixture
def model(utils: ModuleType, repository: Path) -> Any:
    model = loaded(repository)
    yield model
    model.finalize()


def outcome(model: Any, flags: int = 0, cancelled: bool = False) -> str:
    (response,) = model.execute([Request(flags, cancelled)])
    return "answered" if response.error is None else response.error.code


def test_a_cancelled_chunk_is_not_taken(model: Any) -> None:
    assert outcome(model, START, cancelled=True) == "CANCELLED"
    assert outcome(model) == "NOT_FOUND"
    assert outcome(model, START) == "answered"
    assert outcome(model, cancelled=True) == "CANCELLED"
    assert outcome(model) == "answered"
    assert outcome(model, END, cancelled=True) == "CANCELLED"
    assert outcome(model) == "NOT_FOUND"
    _, totals = model._streams.take_stock()
    assert totals.stream_seconds == pytest.approx(0.2)


def test_a_cancelled_start_ends_the_stream_it_would_replace(model: Any) -> None:
    assert outcome(model, START) == "answered"
    assert outcome(model, START, cancelled=True) == "CANCELLED"
    assert outcome(model) == "NOT_FOUND"


def test_one_call_answers_each_in_its_place(model: Any) -> None:
    cancelled, answered = model.execute([Request(cancelled=True), Request(START | END)])
    assert cancelled.error.code == "CANCELLED"
    assert answered.error is None
    assert answered.outputs["tags"].shape == (1, 1, 6)
    np.testing.assert_allclose(answered.outputs["seconds"], [[[0.0, 0.1]]])


def test_silence_is_told_and_has_no_tags(model: Any) -> None:
    (silent,) = model.execute([Request(START | END)])
    np.testing.assert_array_equal(silent.outputs["silent"], [[True]])
    np.testing.assert_array_equal(silent.outputs["tags"], np.zeros((1, 1, 6)))
    (heard,) = model.execute([Request(START | END, level=0.5)])
    np.testing.assert_array_equal(heard.outputs["silent"], [[False]])
    assert (heard.outputs["tags"] > 0).all()


def test_a_repository_of_an_older_version_does_not_tell_silence(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "wanted", ["tags", "seconds"])
    (response,) = model.execute([Request(START | END)])
    assert response.error is None
    assert set(response.outputs) == {"tags", "seconds"}


def test_a_bundle_that_changed_is_the_servers_error(utils: ModuleType, repository: Path) -> None:
    with pytest.raises(UnusableError, match="not the one"):
        loaded(repository, **{"muqrt.artefact_sha256": "0" * 64})
