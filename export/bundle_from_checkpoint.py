"""Checkpoint to bundle: export, prove, and only then put the folder in place."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..common.environment import installed
from ..common.files import atomic_folder, is_partial, sha256
from ..common.lock import LOCK_FILE
from ..errors import BundleError
from ..kernels.log_mel import contract as log_mel
from ..reference.checkpoint import Checkpoint
from ..reference.muq import MuQ
from ..runtime.bundle.manifest import MANIFEST, Artefact, Bundle, Framing, Source, load_bundle
from ..runtime.bundle.meanings import Meanings, explained
from ..runtime.bundle.record import TensorSpec
from ..runtime.bundle.tokens import TOKENS, TOKENS_FILE
from .bundle.parts import part, save_parts
from .graph.compact import CompactGraph, inlined
from .graph.saving import save_onnx
from .onnx_from_checkpoint import INPUT, checked_level, onnx_from_checkpoint
from .outputs import registry
from .outputs.registry import output_specs
from .parity.answers import AnswerBook
from .parity.gate import parity, refuse_uncertified
from .parity.proof import Proof
from .sources.checkpoint import JointCheckpoint
from .sources.rvq import own_rvq
from .sources.sources import Sources
from .text_artefact import save_text_tower

MODEL_FILE = "muq.onnx"
# MuQ was trained on crops of this length.
WINDOW_SECONDS = 30.0
_BYTES_PER_WEIGHT = 4
_FREE_SPACE_MARGIN = 1.1


def bundle_from_checkpoint(
    proof: Proof,
    folder: Path,
    outputs: Sequence[str] = ("features", "embedding"),
    level: int | None = None,
    window_seconds: float = WINDOW_SECONDS,
    target: str = "cpu",
    compact: bool = False,
    levels: bool = False,
    answers: bool = True,
) -> Bundle:
    """Export a checkpoint and prove it; ``folder`` is written whole or not at all.

    Args:
        proof: the checkpoint, and the music that parity is measured on; without any the bundle
            stays uncertified. A head adds the output ``tags``, an RVQ ``tokens``, and a MuQ-MuLan's
            checkpoint ``latents`` and an artefact for texts.
        folder: where the bundle goes; an older bundle there is replaced.
        outputs, level, target: see ``onnx_from_checkpoint``; ``features`` are always there, because
            every track that is longer than a window needs them. ``tokens`` are those of the
            checkpoint's own RVQ where no other is given.
        window_seconds: how long audio is cut for the model.
        compact: write small files, for CPUs: weights in 16 bits where they are no more precise, and
            nothing twice. The numbers are the same.
        levels: also write the graph that gives any hidden state up to ``level`` at the price of the
            layers below it, and the text tower in two parts: what ``muqrt.drop_in`` needs.
        answers: store the reference's answers, with which the bundle proves itself elsewhere.

    Raises:
        UsageError: an unknown output, level or target. CheckpointError: the head or the RVQ is not
            this checkpoint's, or it has no RVQ. ParityError: the numbers differ from the
            reference's. BundleError: ``folder`` holds something else, or the disk is too small.
    """
    checkpoint = proof.checkpoint
    level = checked_level(checkpoint.model, level)
    if proof.rvq is None and TOKENS in outputs:
        proof = replace(proof, rvq=own_rvq(checkpoint))
    sources = proof.sources
    for output in registry.OUTPUTS:
        output.check(checkpoint, level, sources)
    given = [output.name for output in registry.OUTPUTS if output.record(sources) is not None]
    names = ["features", *outputs, *given]
    specs = output_specs(checkpoint.model, names, level, sources)
    meanings = explained(*(output.record(sources) for output in registry.OUTPUTS))
    _check_target(folder, checkpoint.parameters * _BYTES_PER_WEIGHT)
    with atomic_folder(folder) as temporary:
        save = _save_compact_graphs if compact else _save_graphs
        with _asked_beside(proof):
            files = save(
                temporary, checkpoint.model, specs, level, target, sources, meanings, levels
            )
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
        artefacts = [artefact]
        if isinstance(checkpoint, JointCheckpoint):
            artefacts.append(save_text_tower(temporary, checkpoint, "fp32", levels))
        bundle = Bundle(
            created_by=f"muqrt {installed('muqrt') or 'from source'}",
            source=Source(
                checkpoint=checkpoint.name,
                sha256=checkpoint.sha256,
                parameters=checkpoint.parameters,
            ),
            architecture=_architecture(checkpoint),
            framing=framing(checkpoint, window_seconds),
            meanings=meanings,
            artefacts=artefacts,
            folder=temporary,
        )
        if proof.music:
            book = AnswerBook(specs, level, bundle.framing.window_samples)
            parity(bundle, proof, book=book)
            refuse_uncertified(bundle)
            if answers:
                bundle.answers = book.save(temporary, checkpoint, sources)
        bundle.save(temporary)
    bundle.folder = folder
    return bundle


@contextmanager
def _asked_beside(proof: Proof) -> Iterator[None]:
    """Let the reference answer, which takes all cores, while one of them writes the graph."""
    beside = ThreadPoolExecutor(1)
    try:
        for excerpt in proof.music:
            beside.submit(proof.reference, excerpt.waveform)
        yield
    finally:
        beside.shutdown(cancel_futures=True)  # what is left is asked when it is needed


def _save_graphs(
    folder: Path,
    model: MuQ,
    specs: Sequence[TensorSpec],
    level: int,
    target: str,
    sources: Sources,
    meanings: Meanings,
    levels: bool,
) -> list[Path]:
    """The graph of all outputs, its parts and, where they need no encoder, the tokens' own."""
    names, rvq = [spec.name for spec in specs], sources.rvq
    whole = onnx_from_checkpoint(model, names, level, target, sources)
    files = save_onnx(whole, folder / MODEL_FILE)
    deepest = level if levels else None
    files += save_parts(whole, folder / MODEL_FILE, [INPUT], specs, meanings, deepest)
    if rvq is not None and not rvq.needs_encoder:
        alone = onnx_from_checkpoint(model, [TOKENS], sources=sources)
        files += save_onnx(alone, folder / TOKENS_FILE)
    return files


def _save_compact_graphs(
    folder: Path,
    model: MuQ,
    specs: Sequence[TensorSpec],
    level: int,
    target: str,
    sources: Sources,
    meanings: Meanings,
    levels: bool,
) -> list[Path]:
    """The same graphs; those that can be cut out of the whole one share its weights."""
    names, rvq = [spec.name for spec in specs], sources.rvq
    whole = inlined(onnx_from_checkpoint(model, names, level, target, sources, CompactGraph()))
    files = []
    if rvq is not None and not rvq.needs_encoder:
        alone = part(whole, [INPUT], [rvq.record.spec])
        files = save_onnx(alone, folder / TOKENS_FILE, external_from_bytes=0)
        stored = {tensor.name: tensor for tensor in alone.graph.initializer}
        for tensor in whole.graph.initializer:
            if tensor.name in stored:
                tensor.CopyFrom(stored[tensor.name])
    files += save_onnx(whole, folder / MODEL_FILE, external_from_bytes=0)
    deepest = level if levels else None
    return files + save_parts(whole, folder / MODEL_FILE, [INPUT], specs, meanings, deepest)


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
    """Raise BundleError if the folder holds files that are not a bundle's."""
    older = {MANIFEST}
    with suppress(BundleError):
        bundle = load_bundle(folder)
        older |= {name for artefact in bundle.artefacts for name in artefact.files}
        older |= {bundle.answers.file} if bundle.answers is not None else set()
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    # A build that was killed leaves what it was writing, and its lock's file.
    found = {file.as_posix() for file in files if not is_partial(file)} - {LOCK_FILE}
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


def framing(checkpoint: Checkpoint, window_seconds: float = WINDOW_SECONDS) -> Framing:
    """How audio is cut for a checkpoint's model, in windows of whole steps."""
    step = checkpoint.model.config.step_samples
    window_steps = round(window_seconds * log_mel.SAMPLE_RATE_HZ / step)
    return Framing(
        sample_rate_hz=log_mel.SAMPLE_RATE_HZ,
        hop_samples=log_mel.HOP_SAMPLES,
        step_samples=step,
        minimum_samples=log_mel.MINIMUM_SAMPLES,
        window_samples=max(window_steps * step, 2 * step),
    )
