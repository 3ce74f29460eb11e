"""Which of a bundle's artefacts answers on a device in a dtype."""

import torch

from ..errors import BundleError, MissingDependencyError, MuqrtError, SessionError
from ..runtime.bundle.certificate import Precision
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.bundle.parts import levels_file
from ..runtime.engines.open_session import open_session
from ..runtime.engines.session import Session

_PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}
# By kind of device, the best first.
_ENGINES = {
    "cpu": ("onnxruntime", "openvino", "torch"),
    "cuda": ("tensorrt", "torch", "onnxruntime"),
}


def open_best(
    bundle: Bundle,
    device: torch.device,
    dtype: torch.dtype,
    name: str | None,
    threads: int | None,
    levels: bool,
) -> tuple[Session, Artefact]:
    """Open the best certified artefact that this machine can run.

    Args:
        bundle: whose artefacts.
        device: where it is to run.
        dtype: float32, or what ``half`` and ``bfloat16`` ask for.
        name: the artefact that answers in float32; the best when None.
        threads: for the engine on a CPU; all physical cores when None.
        levels: whether one that gives every level is better than a faster one.

    Raises:
        BundleError: no certified artefact is for this; the message says how to build one.
        SessionError, MissingDependencyError: there are some, and none can be opened here.
    """
    if dtype not in _PRECISIONS or device.type not in _ENGINES:
        raise BundleError(
            f"{dtype} on {device}: muqrt has artefacts for float32, float16 and bfloat16, on cpu "
            "and cuda."
        )
    where = None if device.type == "cpu" else f"cuda:{device.index or 0}"
    if name is not None and dtype == torch.float32:
        return _open(bundle, bundle.artefact(name), threads, where)
    failed: MuqrtError | None = None
    for artefact in _able(bundle, device.type, _PRECISIONS[dtype], levels):
        try:
            return _open(bundle, artefact, threads, where)
        except (SessionError, MissingDependencyError) as error:
            failed = failed or error
    if failed is not None:
        raise failed
    engine = "torch" if device.type == "cuda" else "onnxruntime"
    raise BundleError(
        f"{bundle.folder}: no certified artefact computes {_PRECISIONS[dtype]} on {device.type}. "
        f"Build one: muqrt build {bundle.folder} --checkpoint {bundle.source.checkpoint} --engine "
        f"{engine} --precision {_PRECISIONS[dtype]}"
    )


def _open(
    bundle: Bundle, artefact: Artefact, threads: int | None, where: str | None
) -> tuple[Session, Artefact]:
    # PyTorch's session would choose a GPU where there is one.
    asked = where or ("cpu" if artefact.engine == "torch" else None)
    return open_session(bundle, artefact, threads, asked), artefact


def _able(bundle: Bundle, kind: str, precision: Precision, levels: bool) -> list[Artefact]:
    """The certified artefacts of a precision for a kind of device, the best first."""
    engines = _ENGINES[kind]
    found = [
        each
        for each in bundle.audio_artefacts
        if each.certified and each.precision == precision and each.engine in engines
    ]

    def rank(artefact: Artefact) -> tuple[bool, int]:
        return levels and not _gives_levels(bundle, artefact), engines.index(artefact.engine)

    return sorted(found, key=rank)


def _gives_levels(bundle: Bundle, artefact: Artefact) -> bool:
    by_pytorch = artefact.engine == "torch" and bundle.has_levels
    return by_pytorch or levels_file(artefact.file) in artefact.files
