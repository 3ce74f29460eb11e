"""``muqrt doctor``."""

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json, Table, show
from ..common.environment import cpu_name, environment, installed
from ..errors import MuqrtError
from .options import on_this_machine

commands = typer.Typer()


@commands.command()
def doctor(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Bundles to look at; by default those in this folder, and the one that comes with "
            "muqrt.",
            show_default=False,
            callback=on_this_machine,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what this machine can run, and which bundles can prove themselves on it."""
    checks = {
        "CPU engine": _onnxruntime,
        "GPU": _gpu,
        "PyTorch": _pytorch,
        "TensorRT": _tensorrt,
        "TensorRT for RTX": _tensorrt_rtx,
        "ONNX Runtime on GPUs": _onnxruntime_on_gpus,
        "fused kernels": lambda: _packages("gpu", "triton"),
        "export": lambda: _packages("export", "torch", "onnx", "safetensors", "huggingface-hub"),
        "benchmarks": lambda: _packages("bench", "torch", "onnx", "matplotlib", "psutil"),
        "m4a and aac": lambda: _packages("av", "av"),
        "OpenVINO": lambda: _packages("openvino", "openvino"),
        "texts (MuQ-MuLan)": lambda: _packages("text", "tokenizers"),
        "search": lambda: _packages("search", "tokenizers", "lancedb", "pyarrow"),
        "Hugging Face hub": lambda: _packages("hub", "huggingface-hub"),
        "Parquet files": lambda: _packages("parquet", "pyarrow"),
        "microphone": _microphone,
        "training": lambda: _packages("train", "torch", "lightning-fabric", "scikit-learn"),
        "client": lambda: _packages("server", "tritonclient"),
        "server": _server,
    }
    found = {name: check() for name, check in checks.items()}
    proofs = {str(folder): _answers(folder) for folder in bundles or _bundles_here()}
    show(
        as_json,
        {"environment": environment(), "checks": _facts(found), "bundles": _facts(proofs)},
        f"{cpu_name()}, {platform.platform()}, Python {platform.python_version()}",
        Table("What this machine can run", ["part", "here", "detail"], _rows(found)),
        Table("Bundles", ["bundle", "proves itself here", "detail"], _rows(proofs)),
    )


_Finding = tuple[bool, str]


def _facts(found: dict[str, _Finding]) -> dict[str, dict[str, object]]:
    return {name: {"ok": ok, "detail": text} for name, (ok, text) in found.items()}


def _rows(found: dict[str, _Finding]) -> list[list[str]]:
    return [[name, "yes" if ok else "no", text] for name, (ok, text) in found.items()]


def _bundles_here() -> list[Path]:
    """The working folder and the folders in it that are bundles, and the package's own."""
    from ..runtime.bundle.manifest import MANIFEST
    from ..runtime.bundle.shipped import SHIPPED_BUNDLE

    found = [*Path().glob(MANIFEST), *sorted(Path().glob(f"*/{MANIFEST}"))]
    return [*(path.parent for path in found), SHIPPED_BUNDLE]


def _answers(folder: Path) -> _Finding:
    """Whether a bundle holds the reference's answers, which ``muqrt parity`` compares with."""
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.hub.fetch import is_fetched
    from ..runtime.parity.stored import Answers

    try:
        bundle = load_bundle(folder)
        Answers(bundle)
    except MuqrtError as error:
        return False, str(error)
    certified = sum(each.certified for each in bundle.artefacts)
    how = f"muqrt parity {folder}"
    if is_fetched(folder):  # parity would write to it
        how = "copy the folder, and muqrt parity the copy"
    return True, (
        f"holds the reference's answers; {certified} of {len(bundle.artefacts)} artefacts "
        f"certified. Prove them on this machine: {how}"
    )


def _packages(extra: str, *names: str) -> _Finding:
    versions = {name: installed(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return False, f"{', '.join(missing)} missing: pip install 'muqrt[{extra}]'"
    return True, ", ".join(f"{name} {version}" for name, version in versions.items())


def _onnxruntime() -> _Finding:
    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    return True, f"onnxruntime {onnxruntime.__version__}: {providers}"


def _gpu() -> _Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return False, "no NVIDIA driver (nvidia-smi is not on PATH)"
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"nvidia-smi failed ({error}); check the driver"
    return bool(done.stdout.strip()), done.stdout.strip().replace("\n", "; ") or "no GPU listed"


def _pytorch() -> _Finding:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of CUDA's may be missing
        return False, f"{error}: pip install 'muqrt[torch]'"
    cuda = torch.version.cuda
    if cuda is None:
        return True, f"torch {torch.__version__}, for CPUs only"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return True, f"torch {torch.__version__}, for CUDA {cuda}; it sees {count} GPUs"


def _tensorrt() -> _Finding:
    from ..runtime.engines.cuda.device import cuda_runtime
    from ..runtime.engines.tensorrt.library import tensorrt_version

    try:
        version, _ = tensorrt_version(), cuda_runtime()
    except MuqrtError as error:
        return False, str(error)
    return True, f"tensorrt {version}, cuda-bindings {installed('cuda-bindings')}"


def _tensorrt_rtx() -> _Finding:
    from ..runtime.engines.tensorrt.library import full_name, tensorrt_rtx

    try:
        return True, f"{full_name(tensorrt_rtx())}: builds engines here, RTX GPUs run them"
    except MuqrtError as error:
        return False, str(error)


def _onnxruntime_on_gpus() -> _Finding:
    import onnxruntime

    from ..runtime.engines.onnxruntime.providers import PROVIDERS

    wanted = [PROVIDERS[kind] for kind in ("cuda", "tensorrt")]
    found = [name for name in wanted if name in onnxruntime.get_available_providers()]
    if not found:
        return False, "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    return True, f"onnxruntime {onnxruntime.__version__}: {', '.join(found)}"


def _microphone() -> _Finding:
    from ..runtime.streaming.sources.microphone import import_sounddevice

    try:
        library = import_sounddevice().get_portaudio_version()[1]
    except MuqrtError as error:
        return False, str(error)
    return True, f"sounddevice {installed('sounddevice')}, {library}"


def _server() -> _Finding:
    from ..triton_repo.server.installation import find_server

    try:
        return True, str(find_server().binary)
    except MuqrtError as error:
        return False, str(error)
