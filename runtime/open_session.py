"""From an artefact to the session of its engine."""

from ..errors import SessionError
from .bundle import Artefact, Bundle
from .session import Session


def open_session(bundle: Bundle, artefact: Artefact, threads: int | None = None) -> Session:
    """Open an artefact with the engine it is made for.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified.
        threads: for the engine; all physical cores when None.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: the engine refused it.
        MissingDependencyError: the engine is not installed.
    """
    # Here, because whoever needs one engine need not load the other.
    if artefact.engine == "openvino":
        from .openvino_session import OpenVinoSession

        return OpenVinoSession(bundle, artefact, threads)
    if artefact.engine == "tensorrt":
        raise SessionError(
            f"artefact {artefact.name!r} is a TensorRT plan, which Triton runs: write a model "
            "repository of it (muqrt repository), or choose another with --artefact."
        )
    from .onnx_session import OnnxSession

    return OnnxSession(bundle, artefact, threads)
