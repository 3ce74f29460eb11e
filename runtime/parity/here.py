"""Which artefacts this machine can run, and what to say of the others."""

import numpy as np

from ...errors import MissingDependencyError, SessionError
from ..bundle.manifest import Artefact, Bundle
from ..engines.open_session import open_to_compare
from ..engines.session import WAVEFORM


def runs_here(bundle: Bundle, artefact: Artefact) -> bool:
    """Whether this machine has the artefact's engine and its engine the artefact's arithmetic.

    ONNX Runtime's CPU widens float16 and, up to 1.31 at least, refuses bfloat16.
    """
    is_onnx, is_bf16 = artefact.engine == "onnxruntime", artefact.precision == "bf16"
    if is_onnx and not is_bf16:
        return True  # not to be hashed and opened twice
    shortest = np.zeros((1, bundle.framing.minimum_samples), np.float32)
    try:
        with open_to_compare(bundle, artefact) as session:
            if is_onnx:
                session.run({WAVEFORM: shortest})
    except (MissingDependencyError, SessionError):
        return False
    return True


def unproven(bundle: Bundle, artefact: Artefact) -> str:
    """Explain to the user that an artefact does not run here and was not proven."""
    if artefact.engine == "tensorrt-rtx":
        return (
            f"{artefact.name} is compiled, not run: it has no certificate of its own, and nothing "
            "loads it without allow_uncertified. Prove it on one of its GPUs: "
            f"muqrt parity {bundle.folder}{_checkpoint(bundle)} --artefact {artefact.name}"
        )
    if artefact.engine == "coreml":
        return (
            f"{artefact.name} was not proven here: its program is interpreted, with coremltools. "
            "Run: pip install 'muqrt[coreml]'"
        )
    return (
        f"{artefact.name} was not proven: this machine's {artefact.engine} cannot run "
        f"{artefact.precision}. Until it has a certificate nothing chooses it, but engines can be "
        f"built from it. Where one can: muqrt parity {bundle.folder}{_checkpoint(bundle)}"
    )


def _checkpoint(bundle: Bundle) -> str:
    """What the command needs besides the bundle."""
    return "" if bundle.answers is not None else " --checkpoint CHECKPOINT"
