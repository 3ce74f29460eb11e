"""The text tower of a MuQ-MuLan as an artefact: texts' tokens to embeddings."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.files import sha256
from ..errors import CheckpointError, UsageError
from ..reference.checkpoint import Checkpoint
from ..runtime.bundle.certificate import Precision
from ..runtime.bundle.joint import IDS, MASK
from ..runtime.bundle.manifest import Artefact, Bundle
from .bundle.artefact_writer import put
from .bundle.workspace import workspace
from .graph.mulan.text import mulan_text_graph
from .graph.writer import Graph
from .onnx_from_checkpoint import save_onnx
from .parity.excerpts import Excerpt
from .parity.gate import parity, refuse_uncertified, require_source
from .quantize.int8.rows import RowInt8Graph
from .sources.checkpoint import JointCheckpoint

_GRAPHS: dict[str, Callable[[], Graph]] = {"fp32": Graph, "int8": RowInt8Graph}


def save_text_tower(folder: Path, checkpoint: JointCheckpoint, precision: Precision) -> Artefact:
    """Write the tower and its tokenizer into a folder; returns the artefact, not yet certified."""
    joint = checkpoint.joint
    suffix = "" if precision == "fp32" else f"-{precision}"
    path = folder / f"mulan_text{suffix}.onnx"
    graph = mulan_text_graph(checkpoint.mulan, _GRAPHS[precision]())
    files = [*save_onnx(graph, path), folder / joint.tokenizer]
    shutil.copyfile(checkpoint.tokenizer, folder / joint.tokenizer)
    return Artefact(
        name=f"text-{precision}",
        tower="text",
        engine="onnxruntime",
        precision=precision,
        target="cpu" if precision == "int8" else "any",
        file=path.name,
        files={each.name: sha256(each) for each in files},
        level=0,
        inputs=[IDS, MASK],
        outputs=[joint.spec],
    )


def add_text_tower(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    precision: Precision,
    on_step: Callable[[str], None] = lambda what: None,
) -> Artefact:
    """Add the artefact ``text-int8`` (or ``text-fp32``) to a bundle in its folder, proven or not at
    all.

    An older one is replaced. Each token's activations are rounded in a range of their own, measured
    as the graph runs: nothing is calibrated.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what texts are ranked for in the parity measurement.
        precision: "fp32" or "int8".
        on_step: called after each excerpt of it.

    Raises:
        UsageError: another precision. CheckpointError: not what the bundle was made from, or no
            MuQ-MuLan. ParityError: the numbers differ from the reference's.
    """
    if precision not in _GRAPHS:
        raise UsageError(f"precision {precision!r}: of text towers there are {', '.join(_GRAPHS)}.")
    require_source(bundle, checkpoint)
    if not isinstance(checkpoint, JointCheckpoint):
        raise CheckpointError(f"{checkpoint.name}: no MuQ-MuLan, so it has no text tower.")
    with workspace(bundle.folder) as temporary:
        artefact = save_text_tower(temporary, checkpoint, precision)
        added = Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": temporary})
        parity(added, checkpoint, music, lambda each: on_step(f"parity: {each.name}"))
        refuse_uncertified(added)
        return put(bundle, added)
