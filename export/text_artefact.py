"""The text tower of a MuQ-MuLan as an artefact: texts' tokens to embeddings."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..common.files import sha256
from ..common.words import WORDS_FILE
from ..errors import CheckpointError
from ..runtime.bundle.certificate import Precision
from ..runtime.bundle.joint import IDS, MASK
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.bundle.parts import text_encoder_file
from .bundle.candidate import alone
from .bundle.parts import save_text_parts
from .bundle.recipe import PrecisionRecipe
from .graph.mulan.towers import mulan_text_graph
from .graph.saving import save_onnx
from .graph.writer import Graph
from .parity.proof import Proof
from .quantize.int8.graph import Int8Graph
from .sources.checkpoint import JointCheckpoint

_GRAPHS: dict[str, Callable[[], Graph]] = {"fp32": Graph, "int8": Int8Graph}


def save_text_tower(
    folder: Path, checkpoint: JointCheckpoint, precision: Precision, in_parts: bool = False
) -> Artefact:
    """Write the tower, its tokenizer and, where they are known, the words that it learned into a
    folder; returns the artefact, not yet certified.

    Args:
        folder: where to.
        checkpoint: whose tower.
        precision: the artefact's.
        in_parts: also write the parts below and above the states, which can be given different
            masks: so the official package has it.
    """
    joint = checkpoint.joint
    suffix = "" if precision == "fp32" else f"-{precision}"
    path = folder / f"mulan_text{suffix}.onnx"
    graph = mulan_text_graph(checkpoint.mulan, _GRAPHS[precision]())
    files = [*save_onnx(graph, path), folder / joint.tokenizer]
    if in_parts:
        files += save_text_parts(graph, path, joint.spec)
    shutil.copyfile(checkpoint.tokenizer, folder / joint.tokenizer)
    if checkpoint.words is not None:
        files.append(folder / WORDS_FILE)
        shutil.copyfile(checkpoint.words, folder / WORDS_FILE)
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


@dataclass(frozen=True)
class TextTowerRecipe(PrecisionRecipe):
    """The artefact ``text-int8`` or ``text-fp32``.

    In int8 each token's activations are rounded in a range of their own, measured as the graph
    runs: nothing is calibrated.
    """

    known = _GRAPHS
    called = "a text tower"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Write the tower and its tokenizer.

        Raises:
            CheckpointError: the checkpoint is not a MuQ-MuLan's.
        """
        if not isinstance(proof.checkpoint, JointCheckpoint):
            raise CheckpointError(
                f"{proof.checkpoint.name}: not a MuQ-MuLan, so it has no text tower."
            )
        in_parts = any(
            text_encoder_file(each.file) in each.files
            for each in bundle.artefacts
            if each.tower == "text"
        )
        artefact = save_text_tower(folder, proof.checkpoint, self.precision, in_parts)
        return alone(bundle, artefact, folder)
