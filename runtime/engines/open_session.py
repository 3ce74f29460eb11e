"""From an artefact to the session of its engine."""

from ...errors import SessionError
from ..bundle.manifest import Artefact, Bundle
from .cpus import bounded_threads
from .device_name import parse_device
from .session import Session


def open_session(
    bundle: Bundle,
    artefact: Artefact,
    threads: int | None = None,
    device: str | None = None,
    spinning: bool = True,
    runs_at_once: int = 1,
) -> Session:
    """Open an artefact with the engine it is made for.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified.
        threads: for the engine on the CPU; all physical cores when None. No more than there are
            processors are used, with a warning.
        device: "cpu", "cuda", or "tensorrt" or "tensorrt-rtx" for an ONNX artefact; of several
            GPUs "cuda:1". When None the GPU for an engine of TensorRT, what a torch artefact
            chooses, else the CPU.
        spinning: see ``OnnxSession``; other engines decide themselves.
        runs_at_once: how many runs should share the threads; one where the engine is not ONNX
            Runtime on the CPU.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: the engine refused it, or does not
            run on this device. MissingDependencyError: the engine is not installed.
    """
    if artefact.engine == "coreml":
        raise SessionError(
            f"{artefact.name} is for apps on Apple's devices, and muqrt cannot run it; choose "
            "another artefact."
        )
    threads = bounded_threads(threads)
    # Imported here, so that one engine loads without the others being installed.
    if artefact.engine == "openvino":
        from .openvino.session import OpenVinoSession

        parse_device(device or "cpu", "cpu")
        return OpenVinoSession(bundle, artefact, threads)
    if artefact.engine == "torch":
        from .pytorch.session import TorchSession

        return TorchSession(bundle, artefact, threads, device)
    if artefact.engine == "tensorrt":
        from .tensorrt.session import TensorRtSession

        return TensorRtSession(bundle, artefact, parse_device(device or "cuda", "cuda").index)
    if artefact.engine == "tensorrt-rtx":
        from .tensorrt_rtx.session import RtxSession

        return RtxSession(bundle, artefact, parse_device(device or "cuda", "cuda").index)
    if artefact.engine == "executorch":
        from .executorch.session import ExecuTorchSession

        parse_device(device or "cpu", "cpu")
        return ExecuTorchSession(bundle, artefact, threads)
    if artefact.engine == "litert":
        from .litert.session import LiteRtSession

        parse_device(device or "cpu", "cpu")
        return LiteRtSession(bundle, artefact, threads)
    from .onnxruntime.session import OnnxSession

    device = device or "cpu"
    at_once = runs_at_once if device == "cpu" else 1
    return OnnxSession(bundle, artefact, threads, device, spinning=spinning, runs_at_once=at_once)


def open_to_compare(bundle: Bundle, artefact: Artefact, spinning: bool = True) -> Session:
    """As ``open_session``, but what no engine here runs is interpreted where that is possible."""
    if artefact.engine == "coreml":
        from .coreml.session import CoreMlInterpretation

        return CoreMlInterpretation(bundle, artefact)
    return open_session(bundle, artefact, spinning=spinning)
