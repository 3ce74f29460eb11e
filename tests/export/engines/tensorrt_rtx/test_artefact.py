"""Engines that NVIDIA's own compiler makes from the bundle alone, without a GPU."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.errors import BundleError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.engines.tensorrt_rtx.artefact import RtxRecipe
from muqrt.export.parity.excerpt import Excerpt, excerpts
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.artefact import HalfRecipe
from muqrt.export.quantize.int8.calibration import calibration_music
from muqrt.export.quantize.qdq.artefact import QdqRecipe
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.engine_options import Profile, RtxOptions, rtx_options
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle
from muqrt.runtime.bundle.tensorrt_plan import RtxPlan
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.engines.session import Session

Command = Callable[..., CompletedProcess[str]]

OPTIONS = RtxOptions(
    targets=("sm89",), profiles=(Profile(window_seconds=(1, 2, 2), batch=(1, 1, 2)),)
)
SHAPES = ["--targets", "sm89", "--window-seconds", "1,2,2", "--batch", "1,1,2"]


@pytest.fixture(scope="module")
def short() -> list[Excerpt]:
    """Music to prove on."""
    return [each for each in excerpts() if each.seconds < 2]


@pytest.fixture(scope="module")
def half_bundle(
    rtx_library: None, tiny_checkpoint: Path, bundled: Callable[..., Path], short: list[Excerpt]
) -> Path:
    """Folder of the tiny checkpoint's bundle for GPUs, with fp16. Do not change its files."""
    folder = bundled(tiny_checkpoint, "half", target="any", level=1)
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short)
    add(load_bundle(folder), HalfRecipe("fp16"), proof)
    return folder


@pytest.fixture(scope="module")
def compiled(half_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same with an engine, made by the command, and what that said. Do not change it."""
    folder = shutil.copytree(half_bundle, tmp_path_factory.mktemp("rtx") / "compiled")
    command = [sys.executable, "-m", "muqrt", "build", folder, "--engine", "tensorrt-rtx", *SHAPES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, " ".join(done.stdout.split())


@pytest.fixture
def half_copy(half_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(half_bundle, tmp_path / "half")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_compiled_from_the_bundle_alone(
    muqrt: Command, compiled: tuple[Path, str], half_bundle: Path
) -> None:
    folder, told = compiled
    assert "tensorrt-rtx-fp16 is compiled, not run" in told
    assert "Its source onnx-fp16, every rounding emulated: worst frame cosine 0.99" in told
    assert f"muqrt parity {folder} --artefact tensorrt-rtx-fp16" in told
    bundle = load_bundle(folder)
    artefact = bundle.named("tensorrt-rtx-fp16")
    bundle.verify(artefact)
    source, plan = bundle.named("onnx-fp16"), artefact.plan
    assert isinstance(plan, RtxPlan) and source.mixed_precision is not None
    assert plan.options == OPTIONS and plan.source_sha256 == source.digest
    assert plan.source_worst == source.mixed_precision.emulation and plan.source_emulated
    assert (artefact.outputs, artefact.precision) == (source.outputs, "fp16")
    assert artefact.certificate is None and not artefact.certified
    assert f"tensorrt-rtx-fp16: {plan.summary()}" in muqrt("info", folder).stdout
    # Nothing loads it unasked.
    assert bundle.artefact().name == "onnx-fp32"
    with pytest.raises(BundleError, match="no passing parity certificate"):
        bundle.artefact(artefact.name)
    assert bundle.artefact(artefact.name, allow_uncertified=True) is artefact
    if shutil.which("nvidia-smi") is None:
        done = muqrt("parity", folder, "--artefact", artefact.name)
        assert done.returncode == 3 and done.stderr.count("\n") == 1
        assert "no GPU that works, or an old driver" in done.stderr


@pytest.mark.parametrize(
    "precision",
    [
        "int8",
        pytest.param("fp8", marks=pytest.mark.full),
        pytest.param("bf16", marks=pytest.mark.full),
    ],
)
def test_other_precisions_are_compiled_from_their_own_graphs(
    muqrt: Command, half_copy: Path, tiny_checkpoint: Path, short: list[Excerpt], precision: str
) -> None:
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short)
    is_half = precision == "bf16"
    recipe = HalfRecipe("bf16") if is_half else QdqRecipe(precision, calibration_music())
    source = add(load_bundle(half_copy), recipe, proof)
    command = ["build", half_copy, "--engine", "tensorrt-rtx", "--precision", precision]
    done = muqrt(*command, *SHAPES)
    assert done.returncode == 0, done.stderr
    name, told = f"tensorrt-rtx-{precision}", " ".join(done.stdout.split())
    assert f"{name} is compiled, not run" in told
    assert ("every rounding emulated" in told) is is_half
    bundle = load_bundle(half_copy)
    bundle.verify(artefact := bundle.named(name))
    assert artefact.precision == precision and not artefact.certified
    assert isinstance(plan := artefact.plan, RtxPlan)
    assert (plan.source, plan.source_sha256) == (source.name, source.digest)
    assert plan.source_worst is not None and plan.source_worst.worst_frame_cosine > 0.99
    with pytest.raises(BundleError, match="no passing parity certificate"):
        bundle.artefact(name)


def test_parity_on_its_gpu_completes_it(
    muqrt: Command, compiled: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source graph on ONNX Runtime answers in the engine's place."""
    folder = shutil.copytree(compiled[0], tmp_path / "on the GPU")
    asked = []

    def stand_in(bundle: Bundle, artefact: Artefact) -> Session:
        asked.append(artefact.name)
        source = load_bundle(folder)
        return open_session(source, source.named("onnx-fp16"))

    monkeypatch.setattr("muqrt.runtime.parity.prove.open_to_compare", stand_in)
    done = muqrt("parity", folder, "--artefact", "tensorrt-rtx-fp16")
    assert (done.returncode, asked) == (0, ["tensorrt-rtx-fp16"]), done.stderr
    artefact = load_bundle(folder).artefact("tensorrt-rtx-fp16")
    assert artefact.certificate is not None and artefact.certificate.precision == "fp16"
    # Excerpts outside the engine's windows say nothing of it.
    lengths = {each.seconds for each in artefact.certificate.measurements}
    assert lengths == {1.0, 33_333 / 24_000}


def test_it_is_for_the_python_backend_on_a_gpu(
    muqrt: Command, compiled: tuple[Path, str], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    command = ["repository", compiled[0], "-o", models, "--artefact", "tensorrt-rtx-fp16"]
    refused = muqrt(*command)
    assert refused.returncode == 3 and "no passing parity certificate" in refused.stderr
    allowed = [*command, "--allow-uncertified", "--length-seconds", "2", "--max-batch-size"]
    served = muqrt(*allowed, "2")
    assert served.returncode == 0, served.stderr
    config = (models / "muq" / "config.pbtxt").read_text()
    assert 'backend: "python"' in config and "KIND_GPU" in config
    home = models / "muq" / "1"
    assert (home / "muq-tensorrt-rtx-fp16.engine").is_file()
    assert load_bundle(home).answers is None
    large = muqrt(*allowed, "9")
    assert large.returncode == 2 and "not a batch of 9" in large.stderr


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_leaves_nothing(half_copy: Path, stop: type[BaseException]) -> None:
    before = contents(half_copy)

    def on_step(what: str) -> None:
        raise stop

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(stop):
        add(load_bundle(half_copy), RtxRecipe("fp16", OPTIONS), Proof(None, on_step=on_step))
    assert contents(half_copy) == before
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_signal_stops_a_build_at_its_next_step(half_copy: Path) -> None:
    """Whatever callback of the library it comes in."""
    before, steps = contents(half_copy), []

    def on_step(what: str) -> None:
        steps.append(what)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        add(load_bundle(half_copy), RtxRecipe("fp16", OPTIONS), Proof(None, on_step=on_step))
    assert contents(half_copy) == before and len(steps) < 10


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--targets", "sm90"], "targets sm90: choose among sm75, sm80, sm86, sm89, sm120, sm121"),
        (["--targets", "sm75,sm86"], "sm75 (Turing) is compiled for alone"),
        (["--targets", "sm86,sm86"], "name each once"),
        (
            ["--precision", "fp8", "--targets", "sm86,sm89"],
            "sm86: these GPUs have no fp8; from sm89 on",
        ),
        (
            ["--precision", "bf16", "--targets", "sm75"],
            "sm75: these GPUs have no bf16; from sm80 on",
        ),
        (["--precision", "int4"], "built in fp16, bf16, int8, fp8, fp32"),
        (
            ["--strip", "--no-plugins"],
            "--plugins, --strip: options of TensorRT that TensorRT for RTX does not have",
        ),
        (["--hardware-compatibility", "none"], "--hardware-compatibility: options of TensorRT"),
        (["--music", "song.flac"], "--music goes with --checkpoint"),
        (["--window-seconds", "3,2,1"], "give the smallest, likeliest, largest"),
    ],
)
def test_what_cannot_be_built_is_refused(
    muqrt: Command, tiny_bundle: Path, options: list[str], why: str
) -> None:
    done = muqrt("build", tiny_bundle, "--engine", "tensorrt-rtx", *options)
    assert done.returncode == 2 and why in " ".join(done.stderr.split())


def test_what_is_missing_is_named(muqrt: Command, tiny_bundle: Path) -> None:
    done = muqrt("build", tiny_bundle, "--engine", "tensorrt-rtx")
    assert done.returncode == 3 and "no fp16 artefact for ONNX Runtime to build" in done.stderr
    done = muqrt("build", tiny_bundle, "--engine", "tensorrt-rtx", "--precision", "fp32")
    assert done.returncode == 3 and "Export the bundle with --target any" in done.stderr
    for engine in ("tensorrt", "onnxruntime", "torch"):
        done = muqrt("build", tiny_bundle, "--engine", engine)
        assert done.returncode == 2 and "--checkpoint is needed" in done.stderr
    done = muqrt("build", tiny_bundle, "--checkpoint", "c", "--engine", "tensorrt", *SHAPES[:2])
    assert done.returncode == 2 and "--targets goes with --engine tensorrt-rtx" in done.stderr


def test_the_usual_targets() -> None:
    assert rtx_options("fp16").targets == ("sm86", "sm89", "sm120")
    assert rtx_options("fp8").targets == ("sm89", "sm120")
    assert rtx_options("fp16", targets="sm75").targets == ("sm75",)
    with pytest.raises(UsageError, match="choose among"):
        rtx_options("fp16", targets="")


COMPILE = """
import sys
from pathlib import Path
from muqrt.export.engines.tensorrt_rtx.compiler import compile_for_rtx
graph, engine = map(Path, sys.argv[1:])
shapes = [{"waveform": ((1, 24_000), (1, 48_000), (2, 48_000))}]
engine.write_bytes(compile_for_rtx(graph, ["sm89"], shapes).content)
"""


@pytest.mark.full
@pytest.mark.skipif(shutil.which("setarch") is None, reason="no setarch (util-linux)")
def test_equal_graphs_are_equal_engines_but_for_the_numbers_in_names(
    half_bundle: Path, tmp_path: Path
) -> None:
    """On one processor and at the same addresses: the compiler's order depends on both."""
    graph, found = half_bundle / "muq-fp16.onnx", []
    for name in ("first", "second"):
        alone = ["taskset", "-c", "0", "setarch", "-R", sys.executable, "-c", COMPILE]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([*alone, graph, tmp_path / name], check=True, env=environment)
        found.append((tmp_path / name).read_bytes())
    assert len(found[0]) == len(found[1])
    first, second = (re.sub(rb"mye\d+", b"mye", content) for content in found)
    assert first == second


@pytest.mark.full
def test_ctrl_c_ends_the_command_and_leaves_nothing(half_copy: Path) -> None:
    before = contents(half_copy)
    command = [sys.executable, "-m", "muqrt", "build", half_copy, "--engine", "tensorrt-rtx"]
    build = subprocess.Popen([*command, *SHAPES], stderr=subprocess.PIPE, text=True)
    # Once its folder is there, the compiler is about to run or runs.
    while not any(each.name.startswith(".build") for each in half_copy.iterdir()):
        assert build.poll() is None
    build.send_signal(signal.SIGINT)
    _, told = build.communicate(timeout=60)
    assert build.returncode == 130 and told.strip() in ("", "muqrt: interrupted.")
    assert contents(half_copy) == before


@pytest.mark.full
@pytest.mark.parametrize("target", ["sm80", "sm120"])
def test_fp32_and_other_targets(half_copy: Path, target: str) -> None:
    options = OPTIONS.model_copy(update={"targets": (target,)})
    artefact = add(load_bundle(half_copy), RtxRecipe("fp32", options), Proof(None))
    plan = artefact.plan
    assert isinstance(plan, RtxPlan) and plan.options.targets == (target,)
    assert not plan.source_emulated and plan.source_worst is not None
    facts = json.loads((half_copy / "bundle.json").read_text())["artefacts"][-1]["plan"]
    assert facts["options"]["targets"] == [target]
