"""An artefact for PyTorch: the reference's weights, folded, in a safetensors file."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ...common.files import sha256
from ...errors import CheckpointError, UsageError
from ...reference.checkpoint import Checkpoint
from ...reference.head import SMALLEST_VARIANCE, Head
from ...reference.stored import save_tensors
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.pytorch.design import DESIGN, Design, HeadDesign, TokenDesign
from ...runtime.engines.pytorch.model import DTYPES, DeployedMuQ
from ..bundle.artefact_writer import fp32_source, put
from ..bundle.workspace import workspace
from ..graph.rvq import is_linear
from ..parity.excerpts import Excerpt, OnExcerpt
from ..parity.gate import parity, refuse_uncertified, require_head, require_source
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq, require_rvq
from .pytorch_weights import deployed_weights

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


def add_torch(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    precision: Precision = "bf16",
    on_excerpt: OnExcerpt | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
) -> Artefact:
    """Add the artefact ``torch-<precision>`` to a bundle in its folder, proven or not at all.

    An older one of that name is replaced. Its level and outputs are those of the bundle's fp32 ONNX
    artefact; its weights are its own.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what parity is measured on; empty adds the artefact uncertified.
        precision: fp32, bf16 or fp16.
        on_excerpt: called after each excerpt of the parity measurement.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are computed by, and compared with.

    Raises:
        UsageError: another precision. BundleError: no fp32 ONNX artefact to follow.
        CheckpointError: the checkpoint, the head or the RVQ is not the bundle's, or the RVQ has
            projections of several layers. SessionError: this machine cannot run it, so that nothing
            can be proven here. ParityError: the numbers differ from the reference's.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: for PyTorch it is fp32, bf16 or fp16.")
    require_source(bundle, checkpoint)
    require_head(bundle, head)
    require_rvq(bundle, rvq)
    if rvq is not None and not is_linear(rvq):
        raise CheckpointError(
            f"{rvq.name}: an RVQ with projections of several layers, which cannot be folded; "
            "PyTorch's artefacts have no other. Choose an artefact for ONNX Runtime."
        )
    with workspace(bundle.folder) as temporary:
        added = _candidate(bundle, checkpoint, precision, head, rvq, temporary)
        if music:
            parity(added, checkpoint, music, on_excerpt, head, rvq)
            refuse_uncertified(added)
        return put(bundle, added)


def _candidate(
    bundle: Bundle,
    checkpoint: Checkpoint,
    precision: Precision,
    head: TagHead | None,
    rvq: TokenRvq | None,
    folder: Path,
) -> Bundle:
    """A bundle in ``folder`` with the artefact alone, not yet certified."""
    source, path = fp32_source(bundle), folder / f"muq-torch-{precision}.safetensors"
    design = _design(checkpoint, source.level, head, rvq)
    with torch.device("meta"):
        model = DeployedMuQ(design, DTYPES[precision])
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    # One by one, because all of them in float64 would take twice the model's memory.
    weights = {
        name: torch.from_numpy(weight).to(dtypes[name])
        for name, weight in deployed_weights(checkpoint, design, head, rvq)
    }
    model.load_state_dict(weights, assign=True)  # strict: nothing is missing or of another shape
    save_tensors(weights, path, {DESIGN: design.model_dump_json()})
    artefact = Artefact(
        name=f"torch-{precision}",
        engine="torch",
        precision=precision,
        target="any",
        file=path.name,
        files={path.name: sha256(path)},
        level=source.level,
        inputs=source.inputs,
        outputs=[spec for spec in source.outputs if spec.name != LATENTS],
    )
    return Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": folder})


def _design(
    checkpoint: Checkpoint, level: int, head: TagHead | None, rvq: TokenRvq | None
) -> Design:
    config = checkpoint.model.config
    is_deepest = level == config.encoder_depth
    return Design(
        mean_db=config.stat["melspec_2048_mean"],
        std_db=config.stat["melspec_2048_std"],
        channels=config.conv_dim,
        frames_per_step=config.frames_per_step,
        width=config.encoder_dim,
        level=level,
        heads=config.conformer.num_attention_heads,
        inner=config.conformer.intermediate_size,
        kernel=config.conformer.conv_depthwise_kernel_size,
        norm_eps=config.conformer.layer_norm_eps if is_deepest else None,
        head=_head_design(head.head) if head is not None else None,
        tokens=_token_design(rvq) if rvq is not None else None,
    )


def _head_design(head: Head) -> HeadDesign:
    config = head.config
    return HeadDesign(
        levels=config.levels,
        hidden=config.hidden,
        tags=len(config.labels),
        smallest_variance=SMALLEST_VARIANCE,
    )


def _token_design(rvq: TokenRvq) -> TokenDesign:
    first = rvq.rvq.stages[0].codebook
    return TokenDesign(
        level=rvq.tokenizer.level,
        frames_per_step=rvq.frames_per_step,
        stages=rvq.tokenizer.stages,
        codes=first.num_embeddings,
        code_width=first.embedding_dim,
    )
