"""ONNX Runtime's provider for TensorRT for RTX, a plugin in a package of its own."""

from contextlib import suppress
from functools import cache
from typing import Any

import onnxruntime as ort

from ....common.files import cache_folder
from ....errors import MissingDependencyError, SessionError
from ..device_name import DeviceName

DEVICE = "tensorrt-rtx"
_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
_CURE = (
    "It needs a GeForce or RTX GPU from Ampere on and its driver (nvidia-smi shows both); other "
    "GPUs run device cuda."
)


def add_rtx_provider(
    options: ort.SessionOptions, device: DeviceName, artefact_sha256: str, cuda_graphs: bool
) -> str:
    """Let a session of these options run on an RTX GPU; returns the provider's name.

    Args:
        options: of the session to be; it then takes no list of providers.
        device: which GPU.
        artefact_sha256: what is compiled for it is kept under this name.
        cuda_graphs: whether the provider records runs.

    Raises:
        MissingDependencyError: the plugin is not installed. SessionError: it cannot be loaded, or
            finds no such GPU.
    """
    name = _registered()
    found = [each for each in ort.get_ep_devices() if each.ep_name == name]
    if device.index >= len(found):
        raise SessionError(
            f"device {DEVICE}:{device.index}: ONNX Runtime's plugin for TensorRT for RTX finds "
            f"{len(found)} GPUs. {_CURE}"
        )
    folder = cache_folder() / "tensorrt-rtx-onnxruntime" / artefact_sha256
    chosen = {"enable_cuda_graph": str(int(cuda_graphs))}
    with suppress(OSError):  # without a cache it compiles again each time
        folder.mkdir(parents=True, exist_ok=True)
        chosen["nv_runtime_cache_path"] = str(folder)
    options.add_provider_for_devices([found[device.index]], chosen)
    return name


def _plugin() -> Any:
    """The package."""
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"device {DEVICE!r} needs ONNX Runtime's plugin for TensorRT for RTX ({error}). Run: "
            f"pip install {_PACKAGE}"
        ) from None
    return plugin


@cache
def _registered() -> str:
    """Register the plugin, once in a process; returns its provider's name."""
    plugin = _plugin()
    name: str = plugin.get_ep_name()
    try:
        ort.register_execution_provider_library(name, plugin.get_library_path())
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        reason = str(error).splitlines()[0].rpartition(" with error: ")[2]
        raise SessionError(
            f"device {DEVICE}: ONNX Runtime cannot load its plugin for TensorRT for RTX: {reason}. "
            f"{_CURE}"
        ) from None
    return name
