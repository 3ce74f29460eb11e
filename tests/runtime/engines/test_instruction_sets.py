"""A certificate holds on other processors: here on one without AVX-512 and VNNI, emulated.

There ONNX Runtime adds the products of two neighbouring bytes in 16 bits, which saturate.
"""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.bundle.certificate import THRESHOLDS

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from muqrt.export.graph.writer import Graph  # noqa: E402
from muqrt.export.parity.excerpt import excerpts  # noqa: E402
from muqrt.export.quantize.int8.calibration import Range  # noqa: E402
from muqrt.export.quantize.int8.graph import Int8Graph  # noqa: E402
from muqrt.reference.checkpoint import load_checkpoint  # noqa: E402
from muqrt.runtime.bundle.record import TensorSpec  # noqa: E402
from muqrt.runtime.parity.measuring import measure  # noqa: E402

EMULATOR = shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="int8 saturates on x86 only"),
    pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64: apt-get install qemu-user"),
]
POSITIVE = Range(0.0, 5.1)
SIGNED = Range(-2.54, 2.56)
# Of the convolutions: rows and columns, channels, their number out.
IMAGE, CHANNELS, KERNELS = (5, 4), 12, 20
PRODUCTS = {"one_row": (1, 64, 48), "odd": (5, 37, 19), "blocks": (37, 516, 96)}


@dataclass
class Case:
    """A graph of one operator, what it is given, and its answer on this processor."""

    model: "onnx.ModelProto"
    given: dict[str, np.ndarray]

    def stored(self, ending: str) -> np.ndarray:
        """The one initializer whose name ends so."""
        (found,) = [x for x in self.model.graph.initializer if x.name.endswith(ending)]
        return onnx.numpy_helper.to_array(found)


def finished(graph: Graph, answer: str, dtype: str, **given: np.ndarray) -> Case:
    def spec(name: str, dtype: str, rank: int) -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=[f"{name}_{axis}" for axis in range(rank)])

    inputs = [spec(name, array.dtype.name, array.ndim) for name, array in given.items()]
    rank = next(iter(given.values())).ndim
    graph.rename(answer, "answer")
    return Case(graph.model(inputs, [spec("answer", dtype, rank)]), given)


def codes(*shape: int) -> np.ndarray:
    """Bytes, most of them the highest."""
    draw = np.random.default_rng(0)
    return np.where(draw.random(shape) < 0.7, 255, draw.integers(0, 256, shape)).astype(np.uint8)


def heavy(*shape: int) -> np.ndarray:
    """(out, in, ...) weights, most as large as any, of one sign in the even channels."""
    draw = np.random.default_rng(1)
    sizes = np.where(draw.random(shape) < 0.7, 1.0, draw.random(shape))
    signs = np.where(draw.random(shape) < 0.5, -1, 1)
    signs[::2] = 1
    return sizes * signs


def product(rows: int, width: int, columns: int, found: Range) -> Case:
    graph = Int8Graph({})
    bias = np.linspace(-1, 1, columns)
    answer = graph.product("product", heavy(columns, width).T, bias, "x", found)
    return finished(graph, answer, "float32", x=codes(1, rows, width))


def convolution(strides: list[int]) -> Case:
    graph = Int8Graph({})
    kernel = heavy(KERNELS, CHANNELS, 3, 3)
    bias, after = np.linspace(-40, 40, KERNELS), Range(-300.0, 300.0)
    answer = graph.convolution("convolution", kernel, bias, "x", strides, (SIGNED, after))
    return finished(graph, answer, "uint8", x=codes(1, *IMAGE, CHANNELS))


def addition() -> Case:
    graph = Int8Graph({})
    x, y = codes(3, 77), codes(77, 3).T.copy()
    answer = graph.add("x", "y", (SIGNED, POSITIVE, Range(0.0, 7.0)))
    return finished(graph, answer, "uint8", x=x, y=y)


def quantization() -> Case:
    graph = Int8Graph({})
    x = np.random.default_rng(0).normal(scale=2, size=(3, 131)).astype(np.float32)
    return finished(graph, graph.quantize("x", SIGNED), "uint8", x=x)


def saturating() -> Case:
    """Weights that use their whole byte, and so must go wrong where bytes saturate."""
    graph = Graph()
    weights = graph.constant(np.full((64, 8), 127), np.int8)
    answer = graph.op("MatMulInteger", "x", weights)
    return finished(graph, answer, "int32", x=np.full((2, 64), 255, np.uint8))


CASES = {
    **{f"product_{name}": product(*shape, SIGNED) for name, shape in PRODUCTS.items()},
    "convolution_1": convolution([1, 1]),
    "convolution_2": convolution([2, 2]),
    "addition": addition(),
    "quantization": quantization(),
    "saturating": saturating(),
}


@dataclass
class Elsewhere:
    """What the emulated processor can do, and where its answers lie."""

    features: set[str]
    folder: Path

    def answer(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy")


@pytest.fixture(scope="module")
def elsewhere(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """Everything, computed by one process on the emulated processor."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, case in CASES.items():
        onnx.save(case.model, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.npz", **case.given)
    (folder / "bundle").symlink_to(tiny_bundle)
    np.save(folder / "waveform.npy", excerpts()[0].waveform)
    script = Path(__file__).parent / "emulated.py"
    done = subprocess.run(
        [EMULATOR, "-cpu", "Haswell", sys.executable, script, folder],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Elsewhere(set(json.loads(done.stdout)), folder)


def test_the_processor_lacks_what_it_has_to(elsewhere: Elsewhere) -> None:
    assert {"AVX2", "FMA3"} <= elsewhere.features
    assert not [name for name in elsewhere.features if name.startswith("AVX512")]
    assert (elsewhere.answer("saturating") < 64 * 255 * 127).all()


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(elsewhere: Elsewhere, name: str) -> None:
    case = CASES[f"product_{name}"]
    weights, scales = case.stored("weight").astype(np.int64), case.stored("scale")
    sums = (case.given["x"].astype(np.int64) - SIGNED.zero_point) @ weights
    expected = sums * (SIGNED.scale * scales.astype(float)) + case.stored("bias")
    np.testing.assert_allclose(elsewhere.answer(f"product_{name}"), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(elsewhere: Elsewhere, stride: int) -> None:
    case = CASES[f"convolution_{stride}"]
    kernel, after = case.stored("weight").astype(np.int64), Range(-300.0, 300.0)
    padded = np.pad(
        case.given["x"][0].astype(np.int64) - SIGNED.zero_point, ((1, 1), (1, 1), (0, 0))
    )
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    sums = np.einsum("rcikl,oikl->rco", patches[::stride, ::stride], kernel) + case.stored("bias")
    assert_codes(
        elsewhere.answer(f"convolution_{stride}")[0],
        sums * (SIGNED.scale * case.stored("scale").astype(float)),
        after,
    )


def test_additions_and_quantization(elsewhere: Elsewhere) -> None:
    x, y = (CASES["addition"].given[name].astype(float) for name in "xy")
    total = (x - SIGNED.zero_point) * SIGNED.scale + y * POSITIVE.scale
    assert_codes(elsewhere.answer("addition"), total, Range(0.0, 7.0))
    assert_codes(elsewhere.answer("quantization"), CASES["quantization"].given["x"], SIGNED)


def assert_codes(found: np.ndarray, real: np.ndarray, of: Range) -> None:
    """Each code is the nearest to its real number; at a tie, either."""
    exact = np.clip(real / of.scale + of.zero_point, 0, 255)
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert len(np.unique(found)) > 10


def test_fp32_stays_within_its_certificate(elsewhere: Elsewhere, tiny_checkpoint: Path) -> None:
    excerpt = excerpts()[0]
    model = load_checkpoint(tiny_checkpoint).model
    with torch.inference_mode():
        expected = model(torch.from_numpy(excerpt.waveform)).hidden_states[-1].numpy()
    measured = measure(
        excerpt.name, excerpt.seconds, "features", elsewhere.answer("features"), expected
    )
    assert measured.passes(THRESHOLDS["fp32"]), measured
