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
        self.shrinks: list[bool] = []

    def run(self, names: list[str], feed: dict[str, np.ndarray], options: Any = None) -> Any:
        self.runs.append((names, feed["waveform"].shape))
        self.shrinks.append(options is not None)
        return self.session.run(names, feed, options)


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
    parameters = {
        "muqrt.framing": bundle.framing.model_dump_json(),
        "muqrt.limits": '{"max_seconds": 5}',  # two windows and a half
        "intra_op_thread_count": "1",
    }
    config = {
        "input": [{"name": "waveform"}],
        "max_batch_size": 4,
        "default_model_filename": "model.onnx",
        "parameters": {name: {"string_value": text} for name, text in parameters.items()},
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
        def run(self, names: list[str], feed: dict[str, np.ndarray], options: Any) -> Any:
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


def refusal(model: Any, waveform: np.ndarray) -> str:
    (answer,) = model.execute([Request(waveform)])
    assert answer.error.code == "INVALID_ARG"
    return answer.error.message


def test_what_is_too_long_or_too_loud_never_runs(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    assert "5.00004 s; this model takes at most 5 s" in refusal(model, waveform(120_001))
    assert "muqrt repository --max-seconds" in refusal(model, waveform(120_001))
    scaled = (waveform(4_800) * 32_768).round()
    assert "Divide 16-bit samples by 32768" in refusal(model, scaled)
    assert "a sample of 3e+38" in refusal(model, np.full((1, 4_800), -3e38, np.float32))
    assert "not finite" in refusal(model, np.full((1, 4_800), np.nan, np.float32))
    assert not model._session.runs
    (answer,) = model.execute([Request(waveform(120_000))])
    assert answer.error is None


def test_memory_is_given_back_after_an_unusual_length_alone(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    # The window is the usual length.
    model.execute([Request(waveform(48_000, 4)), Request(waveform(48_001))])
    lengths = [shape[1] for _, shape in model._session.runs]
    shrinks = dict(zip(lengths, model._session.shrinks, strict=True))
    assert shrinks == {48_000: False, 48_001: True}


def test_long_waveforms_run_in_parts(model: Any, waveform: Callable[..., np.ndarray]) -> None:
    audio = waveform(100_000, 4)
    (answer,) = model.execute([Request(audio)])
    # A full batch of windows has 192,000 samples.
    assert [shape for _, shape in model._session.runs] == [(1, 100_000)] * 4
    for row, each in enumerate(audio):
        (alone,) = model.execute([Request(each[None])])
        np.testing.assert_array_equal(answer.outputs["features"][row], alone.outputs["features"][0])


def test_numbers_that_are_not_finite_are_an_error(
    model: Any, waveform: Callable[..., np.ndarray]
) -> None:
    def run(names: list[str], feed: dict[str, np.ndarray], options: Any) -> Any:
        assert names == ["embedding"]
        found = np.zeros((len(feed["waveform"]), 4), np.float32)
        found[1, 2] = np.nan
        return [found]

    model._session.run = run
    good, bad = model.execute([Request(waveform(4_800), ["embedding"])] * 2)
    assert good.error is None
    assert bad.error.code == "INTERNAL"
    assert "NaN or infinite embedding" in bad.error.message


def test_without_limits_a_model_takes_four_windows(model: Any) -> None:
    framing = {"string_value": '{"window_samples": 1000}'}
    config = {"input": [], "parameters": {"muqrt.framing": framing}}
    for lengths, expected in (("[]", 4_000), ("[9000]", 9_000)):
        config["parameters"]["muqrt.lengths"] = {"string_value": lengths}  # type: ignore[index,call-overload]
        model._configure(config)
        assert model._most_samples == expected


def test_texts_are_bounded_in_tokens(model: Any) -> None:
    joint = {"string_value": '{"max_tokens": 8, "vocabulary": 100}'}
    inputs = [{"name": "ids"}, {"name": "mask"}]
    model._configure({"input": inputs, "parameters": {"muqrt.joint": joint}})
    texts: dict[str, np.ndarray] = {}
    sys.modules["triton_python_backend_utils"].get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: texts[name]
    )

    def asked(ids: np.ndarray, mask: np.ndarray) -> str | None:
        texts.update(ids=ids, mask=mask)
        try:
            model._read(None)
        except Exception as error:
            return str(error)
        return None

    ones = np.ones((2, 8), np.int64)
    assert asked(ones, ones) is None
    assert asked(0 * ones[:1], 0 * ones[:1]) is None  # Triton's warm-up
    assert "1 to 8 (limits.max_tokens" in str(asked(np.ones((1, 9), np.int64), ones))
    assert "does not know; it knows 0 to 99" in str(asked(100 * ones, ones))
    assert "nothing but padding" in str(asked(ones, ones * [[1], [0]]))
