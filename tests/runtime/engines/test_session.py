"""A session refuses what the engine could not digest, naming it, before the engine sees it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError, SessionError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.session import Arrays, Description, Session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Iterator[Session]:
    bundle = load_bundle(tiny_bundle)
    with OnnxSession(bundle, bundle.artefact(), threads=1) as opened:
        yield opened


def replace_model(folder: Path, content: bytes) -> Bundle:
    """The bundle with another model file whose hash is right."""
    (folder / "muq.onnx").write_bytes(content)
    bundle = load_bundle(folder)
    bundle.artefacts[0].files["muq.onnx"] = sha256(folder / "muq.onnx")
    return bundle


def test_shapes_and_dtypes_are_those_that_were_promised(session: Session) -> None:
    assert set(session.inputs) == {"waveform"}
    results = session.run({"waveform": noise(2, 33_333)})
    assert results["features"].shape == (2, 35, 32)
    assert results["embedding"].shape == (2, 32)
    assert {each.dtype.name for each in results.values()} == {"float32"}


def test_only_requested_outputs_are_returned(session: Session) -> None:
    waveform = noise(1, 24_000)
    assert list(session.run({"waveform": waveform})) == ["features", "embedding"]
    assert list(session.run({"waveform": waveform}, ["embedding"])) == ["embedding"]
    swapped = session.run({"waveform": waveform}, ("embedding", "features"))
    assert list(swapped) == ["embedding", "features"]
    mean = swapped["features"].mean(axis=1)
    np.testing.assert_allclose(swapped["embedding"], mean, rtol=1e-5, atol=1e-6)


def test_a_view_is_run_as_what_it_shows(session: Session) -> None:
    view = noise(24_000, 4).T[::2]
    expected = session.run({"waveform": view.copy()}, ["embedding"])["embedding"]
    found = session.run({"waveform": view}, ["embedding"])["embedding"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"inputs are \[\]; expected \['waveform'\]"),
        ({"audio": noise(1, 24_000)}, r"inputs are \['audio'\]"),
        ({"waveform": noise(1, 24_000), "rate": noise(1)}, r"inputs are \['rate', 'waveform'\]"),
        ({"waveform": noise(1, 24_000).astype(np.float64)}, "float64; expected float32"),
        ({"waveform": np.zeros((1, 24_000), np.int16)}, "int16; expected float32"),
        ({"waveform": noise(24_000)}, r"shape \(24000,\); expected \['batch', 'samples'\]"),
        ({"waveform": noise(1, 1, 24_000)}, r"shape \(1, 1, 24000\)"),
        ({"waveform": noise(0, 24_000)}, r"shape \(0, 24000\)"),
        ({"waveform": noise(1, 0)}, r"shape \(1, 0\)"),
        ({"waveform": noise(1, 1_024)}, "1024 samples; the STFT needs at least 1025 at 24000 Hz"),
    ],
)
def test_inputs_that_are_refused(
    session: Session, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(SessionError, match=message):
        session.run(inputs)


def test_the_shortest_input(session: Session) -> None:
    assert session.run({"waveform": noise(1, 1_025)})["features"].shape == (1, 1, 32)


@pytest.mark.parametrize("outputs", [["tags"], ["features", "tags"], []])
def test_outputs_that_are_refused(session: Session, outputs: list[str]) -> None:
    with pytest.raises(SessionError, match="this model has: features, embedding"):
        session.run({"waveform": noise(1, 24_000)}, outputs)


class Pair(Session):
    """Two inputs that share their batch; the second is always three wide."""

    def __init__(self, tiny_bundle: Path) -> None:
        shapes: dict[str, list[int | str]] = {"a": ["batch", "samples"], "b": ["batch", 3]}
        specs = [TensorSpec(name=n, dtype="float32", shape=s) for n, s in shapes.items()]
        super().__init__(Description(specs, specs, load_bundle(tiny_bundle).framing))

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return {name: inputs[name] for name in outputs}

    def close(self) -> None:
        """Nothing to free."""


def test_a_symbolic_dimension_is_one_number(tiny_bundle: Path) -> None:
    session = Pair(tiny_bundle)
    assert session.run({"a": noise(2, 2_000), "b": noise(2, 3)}, ["b"])["b"].shape == (2, 3)
    with pytest.raises(SessionError, match=r"b has shape \(1, 3\)"):
        session.run({"a": noise(2, 2_000), "b": noise(1, 3)})
    with pytest.raises(SessionError, match=r"b has shape \(2, 4\); expected \['batch', 3\]"):
        session.run({"a": noise(2, 2_000), "b": noise(2, 4)})


def test_a_closed_session_says_so(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    with OnnxSession(bundle, bundle.artefact()) as session:
        session.run({"waveform": noise(1, 2_000)})
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": noise(1, 2_000)})
    session.close()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x07" * 1000])
def test_a_file_that_is_no_model(bundle_copy: Path, content: bytes) -> None:
    bundle = replace_model(bundle_copy, content)
    session = OnnxSession(bundle, bundle.artefacts[0])
    with pytest.raises(SessionError, match=r"muq\.onnx: ONNX Runtime cannot load it"):
        session.run({"waveform": noise(1, 2_000)})


def test_a_changed_file_is_not_even_opened(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (bundle_copy / "muq.onnx").open("ab") as file:
        file.write(b"\0")

    def opened(*_: object, **__: object) -> None:
        pytest.fail("ONNX Runtime was given a file whose hash is wrong")

    monkeypatch.setattr("onnxruntime.InferenceSession", opened)
    bundle = load_bundle(bundle_copy)
    with pytest.raises(BundleError, match="has changed"):
        OnnxSession(bundle, bundle.artefacts[0])


def test_an_engine_that_fails_is_an_error_of_ours(bundle_copy: Path) -> None:
    bundle = replace_model(bundle_copy, impossible_reshape())
    session = OnnxSession(bundle, bundle.artefacts[0])
    with pytest.raises(SessionError, match="ONNX Runtime failed"):
        session.run({"waveform": noise(1, 2_000)}, ["features"])


def impossible_reshape() -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    value: Callable[..., object] = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["waveform", "shape"], ["features"])],
        "impossible",
        [value("waveform", float32, ["batch", "samples"])],
        [value("features", float32, ["a", "b", "c"])],
        [helper.make_tensor("shape", onnx.TensorProto.INT64, [3], [7, 11, 13])],
    )
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model
