"""Small files with the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.graph.compact import CompactGraph
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint, save_checkpoint
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.open_session import open_session

HALVES = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float16).astype(np.float64)
HALVES[0, 0] = 2.0**-24  # the smallest float16


def stored(value: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    """What a runtime reads, and the dtype in the file."""
    graph = CompactGraph()
    graph.rename(graph.weight("weight", value), "y")
    model = graph.model([], [TensorSpec(name="y", dtype="float32", shape=list(value.shape))])
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {})
    return found, onnx.numpy_helper.to_array(model.graph.initializer[0]).dtype


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0**-9, 2.0**20, 0.0])
def test_float16_takes_16_bits_whatever_the_power_of_two(factor: float) -> None:
    found, dtype = stored(HALVES * factor)
    assert dtype == np.float16
    np.testing.assert_array_equal(found, HALVES * factor)


@pytest.mark.parametrize("value", [HALVES / 3, HALVES[:2, :2], np.full((40, 40), np.nan)])
def test_everything_else_stays_float32(value: np.ndarray) -> None:
    found, dtype = stored(value)
    assert dtype == np.float32
    np.testing.assert_array_equal(found, value.astype(np.float32))


def test_a_compact_bundle_gives_the_same_numbers(
    short_music: list[Excerpt], tmp_path: Path
) -> None:
    save_checkpoint(random_model(TINY), tmp_path / "half", half=True)
    proof = Proof(load_checkpoint(tmp_path / "half"), music=short_music[:1])
    answers, sizes = [], []
    for compact in (False, True):
        bundle = bundle_from_checkpoint(
            proof, tmp_path / str(compact), ["embedding", "tokens"], compact=compact
        )
        artefact = bundle.artefact()  # certified
        assert {path.name for path in bundle.folder.iterdir()} - {"parity-answers.npz"} == {
            "bundle.json",
            *artefact.files,
        }
        sizes.append(bundle.size_bytes(artefact))
        with open_session(bundle, artefact, threads=1) as session:
            inputs = {"waveform": short_music[0].waveform}
            frames = session.parts.front_end.run(inputs)["frames"]
            answers.append(
                [
                    session.run(inputs)["features"],
                    session.run(inputs, ["tokens"])["tokens"],
                    session.parts.encoder.run({"frames": frames})["embedding"],
                ]
            )
    for plain, compact in zip(*answers, strict=True):
        np.testing.assert_array_equal(plain, compact)
    assert sizes[1] < 0.6 * sizes[0]
