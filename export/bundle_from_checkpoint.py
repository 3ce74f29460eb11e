"""Checkpoint to bundle: export, prove, and only then put the folder in place."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..common.environment import installed
from ..common.files import atomic_folder, sha256
from ..errors import BundleError
from ..kernels.log_mel import contract as log_mel
from ..reference.checkpoint import Checkpoint
from ..reference.head import Head
from ..runtime.bundle.joint import LATENTS
from ..runtime.bundle.manifest import (
    MANIFEST,
    Artefact,
    Bundle,
    Framing,
    Source,
    TensorSpec,
    load_bundle,
)
from ..runtime.bundle.meanings import Meanings, explained
from ..runtime.bundle.tagging import TAGS
from ..runtime.bundle.tokens import TOKENS, TOKENS_FILE
from .bundle.parts import save_parts
from .bundle.workspace import is_in_workspace
from .onnx_from_checkpoint import (
    INPUT,
    checked_level,
    onnx_from_checkpoint,
    output_specs,
    save_onnx,
)
from .parity.excerpts import Excerpt, OnExcerpt
from .parity.gate import parity, refuse_uncertified
from .sources.checkpoint import JointCheckpoint, mulan_of
from .sources.head import TagHead
from .sources.rvq import TokenRvq, own_rvq
from .text_artefact import save_text_tower

MODEL_FILE = "muq.onnx"
# MuQ was trained on crops of this length.
WINDOW_SECONDS = 30.0
_BYTES_PER_WEIGHT = 4
_FREE_SPACE_MARGIN = 1.1


def bundle_from_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    music: Sequence[Excerpt],
    outputs: Sequence[str] = ("features", "embedding"),
    level: int | None = None,
    window_seconds: float = WINDOW_SECONDS,
    target: str = "cpu",
    on_excerpt: OnExcerpt | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
) -> Bundle:
    """Export a checkpoint and prove it; ``folder`` is written whole or not at all.

    Args:
        checkpoint: the loaded model. A MuQ-MuLan's adds the output ``latents`` and an artefact for
            texts.
        folder: where the bundle goes; an older bundle there is replaced.
        music: what parity is measured on; empty leaves the bundle uncertified, and then
            nothing loads it without being told to.
        outputs, level, target: as for ``onnx_from_checkpoint``; ``features`` are always there,
            every track that is longer than a window needs them. ``tokens`` are those of the
            checkpoint's own RVQ where no other is given.
        window_seconds: how long audio is cut for the model.
        on_excerpt: called after each excerpt of the parity measurement.
        head: adds the output ``tags``.
        rvq: adds the output ``tokens``.

    Raises:
        UsageError: an unknown output, level or target. CheckpointError: the head or the RVQ is not
            this checkpoint's, or it has no RVQ. ParityError: the numbers differ from the
            reference's. BundleError: ``folder`` holds something else, or the disk is too small.
    """
    level = checked_level(checkpoint.model, level)
    if head is not None:
        head.check(checkpoint, level)
    if rvq is None and TOKENS in outputs:
        rvq = own_rvq(checkpoint)
    if rvq is not None:
        rvq.check(level)
    joint = checkpoint if isinstance(checkpoint, JointCheckpoint) else None
    if joint is not None:
        joint.check(level)
    outputs = ["features", *outputs]
    sources = ((TAGS, head), (TOKENS, rvq), (LATENTS, joint))
    outputs += [name for name, source in sources if source is not None]
    module = head.head if head is not None else None
    tokenizer = rvq.tokenizer if rvq is not None else None
    meanings = explained(
        head.tagging if head is not None else None,
        tokenizer,
        joint.joint if joint is not None else None,
    )
    mulan = mulan_of(checkpoint)
    specs = output_specs(checkpoint.model, outputs, level, module, tokenizer, mulan)
    _check_target(folder, checkpoint.parameters * _BYTES_PER_WEIGHT)
    with atomic_folder(folder) as temporary:
        files = _save_graphs(temporary, checkpoint, specs, level, target, module, rvq, meanings)
        artefact = Artefact(
            name="onnx-fp32",
            engine="onnxruntime",
            precision="fp32",
            target=target,
            file=MODEL_FILE,
            files={path.name: sha256(path) for path in files},
            level=level,
            inputs=[INPUT],
            outputs=specs,
        )
        texts = [] if joint is None else [save_text_tower(temporary, joint, "fp32")]
        bundle = Bundle(
            created_by=f"muqrt {installed('muqrt') or 'from source'}",
            source=Source(
                checkpoint=checkpoint.name,
                sha256=checkpoint.sha256,
                parameters=checkpoint.parameters,
            ),
            architecture=_architecture(checkpoint),
            framing=_framing(checkpoint, window_seconds),
            meanings=meanings,
            artefacts=[artefact, *texts],
            folder=temporary,
        )
        if music:
            parity(bundle, checkpoint, music, on_excerpt, head, rvq)
            refuse_uncertified(bundle)
        bundle.save(temporary)
    bundle.folder = folder
    return bundle


def _save_graphs(
    folder: Path,
    checkpoint: Checkpoint,
    specs: Sequence[TensorSpec],
    level: int,
    target: str,
    head: Head | None,
    rvq: TokenRvq | None,
    meanings: Meanings,
) -> list[Path]:
    """The graph of all outputs, its parts and, where they need no encoder, the tokens' own."""
    outputs = [spec.name for spec in specs]
    mulan = mulan_of(checkpoint)
    whole = onnx_from_checkpoint(checkpoint.model, outputs, level, target, head, rvq, mulan=mulan)
    files = save_onnx(whole, folder / MODEL_FILE)
    files += save_parts(whole, folder / MODEL_FILE, [INPUT], specs, meanings)
    if rvq is not None and not rvq.needs_encoder:
        alone = onnx_from_checkpoint(checkpoint.model, [TOKENS], rvq=rvq)
        files += save_onnx(alone, folder / TOKENS_FILE)
    return files


def _check_target(folder: Path, size_bytes: int) -> None:
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder}: a file is in the way; choose another folder.")
    if folder.is_dir() and any(folder.iterdir()):
        _check_only_a_bundle(folder)
    # The folder is made beside the one it replaces, and then renamed.
    if Path.cwd().is_relative_to(folder.resolve()) or folder.is_mount():
        raise BundleError(f"{folder}: cannot be replaced while in use; name a folder inside it.")
    existing = next(p for p in folder.resolve().parents if p.is_dir())
    if not os.access(existing, os.W_OK):
        raise BundleError(f"{existing}: not writable; choose another folder.")
    free = shutil.disk_usage(existing).free
    if free < size_bytes * _FREE_SPACE_MARGIN:
        raise BundleError(
            f"{existing}: {free / 1e6:.0f} MB free, the bundle needs about "
            f"{size_bytes * _FREE_SPACE_MARGIN / 1e6:.0f} MB. Free some or choose another disk."
        )


def _check_only_a_bundle(folder: Path) -> None:
    """A bundle may be replaced, but nobody's other files with it."""
    older = {MANIFEST}
    with suppress(BundleError):
        older |= {name for artefact in load_bundle(folder).artefacts for name in artefact.files}
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    # A build that was killed leaves its workspace.
    found = {file.as_posix() for file in files if not is_in_workspace(file)}
    if MANIFEST not in found or not found <= older:
        raise BundleError(
            f"{folder}: not empty, and not (only) a bundle; choose another folder, or empty it."
        )


def _architecture(checkpoint: Checkpoint) -> dict[str, int | float]:
    config = checkpoint.model.config
    return {
        "conv_dim": config.conv_dim,
        "encoder_dim": config.encoder_dim,
        "encoder_depth": config.encoder_depth,
        "num_attention_heads": config.conformer.num_attention_heads,
        "intermediate_size": config.conformer.intermediate_size,
        "label_rate": config.label_rate,
        "melspec_2048_mean": config.stat["melspec_2048_mean"],
        "melspec_2048_std": config.stat["melspec_2048_std"],
    }


def _framing(checkpoint: Checkpoint, window_seconds: float) -> Framing:
    step = checkpoint.model.config.step_samples
    window_steps = round(window_seconds * log_mel.SAMPLE_RATE_HZ / step)
    return Framing(
        sample_rate_hz=log_mel.SAMPLE_RATE_HZ,
        hop_samples=log_mel.HOP_SAMPLES,
        step_samples=step,
        minimum_samples=log_mel.MINIMUM_SAMPLES,
        window_samples=max(window_steps * step, 2 * step),
    )
