"""What every engine's session does: the same numbers for any length, and errors that say why."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import muqrt
from muqrt.errors import BundleError, SessionError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.cuda import device as cuda_device
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.engines.session import Arrays, Session

from ...fake_cuda import FakeCuda
from ...fake_tensorrt import FakeTensorRT, computed
from .tensorrt.plans import built_plan, plan_bundle

LONGEST_SAMPLES = 50_000


@dataclass(frozen=True)
class Case:
    """An engine under test.

    Attributes:
        folder: a bundle with an artefact for it.
        artefact: its name.
        session: the name of its session's class.
        expected: what it has to give for a waveform.
        samples: the shortest and the longest waveform it takes here.
    """

    folder: Path
    artefact: str
    session: str
    expected: Callable[[np.ndarray], Arrays]
    samples: tuple[int, int] = (1_025, LONGEST_SAMPLES)

    def open(self, folder: Path | None = None) -> Session:
        bundle = load_bundle(folder or self.folder)
        artefact = bundle.artefact(self.artefact, allow_uncertified=True)
        return open_session(bundle, artefact, threads=1)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "torch", "tensorrt"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    if request.param == "tensorrt":
        folder, cuda = tmp_path_factory.mktemp("plan"), FakeCuda()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cuda_device, "cuda_runtime", lambda: cuda)
            patch.setitem(sys.modules, "tensorrt", FakeTensorRT(cuda))
            plan_bundle(built_plan(folder)).save(folder)
            yield Case(folder, "tensorrt-fp16-9.0", "TensorRtSession", computed, (1_200, 48_000))
        return
    onnx: Session = request.getfixturevalue("onnx_session")

    def expected(waveform: np.ndarray) -> Arrays:
        return onnx.run({"waveform": waveform})

    fixture, artefact, session = {
        "onnxruntime": ("token_bundle", "onnx-fp32", "OnnxSession"),
        "openvino": ("openvino_folder", "openvino-fp32", "OpenVinoSession"),
        "torch": ("torch_folder", "torch-fp32", "TorchSession"),
    }[request.param]
    yield Case(request.getfixturevalue(fixture), artefact, session, expected)


@pytest.fixture(scope="module")
def session(case: Case) -> Iterator[Session]:
    with case.open() as session:
        yield session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def test_the_engine_chooses_the_session(case: Case, session: Session) -> None:
    assert type(session).__name__ == case.session


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.integers(1, 3), samples=st.integers(1_025, LONGEST_SAMPLES))
def test_any_batch_and_length_is_right(
    case: Case, session: Session, batch: int, samples: int
) -> None:
    shortest, longest = case.samples
    waveform = noise(batch, min(max(samples, shortest), longest))
    expected, found = case.expected(waveform), session.run({"waveform": waveform})
    assert list(found) == list(expected) == list(session.outputs)
    for name, array in found.items():
        assert array.dtype == session.outputs[name].dtype
        assert array.shape == expected[name].shape
        if name == "tokens":
            assert (array == expected[name]).mean() > 0.99
        else:
            np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4)


def test_results_are_the_callers_to_keep(session: Session) -> None:
    first = session.run({"waveform": noise(1, 24_000)}, ["features"])["features"]
    kept = first.copy()
    for _ in range(3):  # a recorded run as well
        session.run({"waveform": 0.1 * noise(1, 24_000)}, ["features"])
    np.testing.assert_array_equal(first, kept)


def test_only_requested_outputs_are_returned(session: Session) -> None:
    waveform = noise(2, 9_999).T.copy().T  # not contiguous
    other = next(name for name in session.outputs if name != "features")
    both = session.run({"waveform": waveform}, [other, "features"])
    assert list(both) == [other, "features"]
    alone = session.run({"waveform": waveform}, [other])
    assert list(alone) == [other]
    np.testing.assert_array_equal(alone[other], both[other])


@settings(max_examples=4, deadline=None)
@given(samples=st.integers(1_025, LONGEST_SAMPLES))
def test_the_parts_are_the_whole(session: Session, samples: int) -> None:
    if session.parts is None:
        pytest.skip("this artefact has no parts")
    waveform = noise(2, samples)
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


def test_a_changed_file_is_refused(case: Case, tmp_path: Path) -> None:
    copy = shutil.copytree(case.folder, tmp_path / "bundle")
    bundle = load_bundle(copy)
    for file in bundle.artefact(case.artefact, allow_uncertified=True).files:
        before = (copy / file).read_bytes()
        (copy / file).write_bytes(before + b"\0")
        with pytest.raises(BundleError, match=f"{file} has changed"):
            case.open(copy)
        (copy / file).write_bytes(before)


def test_a_closed_session_says_so(case: Case) -> None:
    session = case.open()
    session.run({"waveform": noise(1, 24_000)})
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": noise(1, 24_000)})


def test_a_model_loads_it_by_name(case: Case, music: Path) -> None:
    song, embeddings = music / "greensleeves_duo.flac", []
    names = [each.name for each in load_bundle(case.folder).artefacts]
    if case.artefact not in names[1:]:
        pytest.skip("the bundle has no other artefact to compare with")
    for name in names:
        with muqrt.load(case.folder, name, threads=1, allow_uncertified=True) as model:
            embeddings.append(model.embed(song))
    np.testing.assert_allclose(*embeddings, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ["openvino", "torch", "tensorrt"])
def test_other_artefacts_load_no_further_engine(token_bundle: Path, engine: str) -> None:
    code = f"import sys, muqrt; muqrt.load({str(token_bundle)!r}); print({engine!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
