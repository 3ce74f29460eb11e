"""Choose ONNX Runtime's providers: the CPU, or a GPU through CUDA or TensorRT."""

from typing import Any

import onnxruntime as ort

from ....common.files import cache_folder
from ....errors import MissingDependencyError, SessionError
from ..device_name import parse_device

Provider = tuple[str, dict[str, Any]]

# ONNX Runtime's names.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def providers_on(device: str, artefact_sha256: str, cuda_graphs: bool = False) -> list[Provider]:
    """The providers for a device; each runs the operators that those before it do not support.

    Args:
        device: "cpu", "cuda" or "tensorrt", such as "cuda:1" for the second GPU.
        artefact_sha256: TensorRT's engines, which take minutes to build, are kept under this name.
        cuda_graphs: whether the CUDA provider records runs.
    """
    chosen = parse_device(device, *PROVIDERS)
    kind = chosen.kind
    if cuda_graphs and kind != "cuda":
        raise SessionError(f"CUDA graphs are for device cuda, not {device!r}.")
    if PROVIDERS[kind] not in ort.get_available_providers():
        raise MissingDependencyError(
            f"this onnxruntime {ort.__version__} has no {PROVIDERS[kind]} for device {device!r}. "
            "Run: pip uninstall onnxruntime, then pip install onnxruntime-gpu (they exclude each "
            "other)."
        )
    providers: list[Provider] = []
    if kind == "tensorrt":
        folder = cache_folder() / "tensorrt" / artefact_sha256
        kept = {
            "device_id": chosen.index,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder.parent),
        }
        providers.append((PROVIDERS[kind], kept))
    if kind != "cpu":
        # TF32 has fp16's mantissa, too few bits for the fp32 gate. The exhaustive search would be
        # repeated for every length of a waveform.
        options = {
            "device_id": chosen.index,
            "use_tf32": 0,
            "cudnn_conv_algo_search": "HEURISTIC",
            "enable_cuda_graph": int(cuda_graphs),
        }
        providers.append((PROVIDERS["cuda"], options))
    return [*providers, (PROVIDERS["cpu"], {})]
