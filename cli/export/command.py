"""``muqrt export`` and ``muqrt parity``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, progress, show
from ...common.environment import import_extra
from ...errors import ParityError, UsageError
from ..options import OwnBundle
from ..parameters import expand_options
from .options import (
    ProofOptions,
    Verbose,
    chosen_head,
    prepare,
    proof_of,
    refuse_shipped,
    require_no_proof_options,
)

if TYPE_CHECKING:
    from ...export.sources.head import TagHead
    from ...export.sources.score_head import ScoreHead

commands = typer.Typer()


@commands.command()
@expand_options
def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Folder, .pt file or Hugging Face id, for example OpenMuQ/MuQ-large-msd-iter."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    *,
    outputs: Annotated[
        str,
        typer.Option(
            help="Outputs besides features, separated by commas: embedding, hidden_states, tokens."
        ),
    ] = "embedding",
    level: Annotated[
        int | None,
        typer.Option(help="Deepest layer to export; the file leaves out the layers above it."),
    ] = None,
    window_seconds: Annotated[
        float,
        typer.Option(min=1, max=600, help="Length of the windows that longer audio is cut into."),
    ] = 30.0,
    target: Annotated[
        str,
        typer.Option(help="cpu: fast convolutions for CPUs; any: plain convolutions, for GPUs."),
    ] = "cpu",
    levels: Annotated[
        bool,
        typer.Option(
            "--levels",
            help="Also write what gives any layer's hidden states up to --level, and takes masks: "
            "a small file, which shares the weights. muqrt.drop_in needs it.",
        ),
    ] = False,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS|FILE",
            help="Also export a weighted sum of layers' hidden states, the output mix: their mean, "
            "9-12 or 6,9-12, or a JSON or TOML file with levels, weights and softmax.",
        ),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Write small files, for CPUs: weights that fit in 16 bits take no more. The "
            "numbers are the same.",
        ),
    ] = False,
    parity: Annotated[
        bool, typer.Option(help="Compare with PyTorch and write a certificate.")
    ] = True,
    answers: Annotated[
        bool,
        typer.Option(
            help="Store PyTorch's answers, and the excerpts of music, so that the bundle can be "
            "proven without its checkpoint."
        ),
    ] = True,
    proof_options: ProofOptions,
    no_head: Annotated[
        bool, typer.Option("--no-head", help="Export no tags although the checkpoint has a head.")
    ] = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint into a bundle with proven numbers."""
    prepare()
    head, rvq = proof_options.head, proof_options.rvq
    if head is not None and no_head:
        raise UsageError("--head and --no-head: choose one.")
    from ...export.bundle_from_checkpoint import bundle_from_checkpoint, framing
    from ...export.parity.excerpt import excerpts
    from ...export.parity.proof import Proof
    from ...export.sources.checkpoint import load_source
    from ...export.sources.mix import level_mix
    from ...export.sources.rvq import load_token_rvq
    from .report import parity_tables

    loaded = load_source(checkpoint)
    loaded_head = None if no_head else chosen_head(checkpoint, head)
    token_rvq = None if rvq is None else load_token_rvq(rvq, loaded)
    chosen_mix = None if mix is None else level_mix(mix, loaded)
    window_samples = framing(loaded, window_seconds).window_samples
    chosen = excerpts(proof_options.music or [], window_samples) if parity else []
    names = [name.strip() for name in outputs.split(",") if name.strip()]
    with progress("Exporting", len(chosen) or None) as bar:
        proof = Proof(loaded, loaded_head, token_rvq, chosen, bar.advance, chosen_mix)
        bundle = bundle_from_checkpoint(
            proof, output, names, level, window_seconds, target, compact, levels, answers
        )
    size = bundle.size_bytes(bundle.artefacts[0])
    show(
        as_json,
        bundle.model_dump(),
        *parity_tables(bundle.artefacts, verbose),
        f"Wrote {output}: {loaded.parameters / 1e6:.1f}M parameters, {size / 1e6:.1f} MB.",
        _head_line(loaded_head, is_own=head is None) if loaded_head is not None else "",
        "" if parity else "No certificate yet: muqrt parity proves it.",
    )


@commands.command()
@expand_options
def parity(
    bundle: OwnBundle,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint the bundle was made from; without it the answers that muqrt "
            "export stored in the bundle are compared with."
        ),
    ] = None,
    *,
    artefact: Annotated[
        str | None, typer.Option(help="Compare this artefact alone; all that run here by default.")
    ] = None,
    proof_options: ProofOptions,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Compare every layer's hidden states instead, to find where differences arise.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="With --layers: file of the chart, NAME.png.", metavar="NAME"
        ),
    ] = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Compare a bundle with PyTorch and write its certificates.

    Without --checkpoint the answers that PyTorch gave at export are compared with, and neither is
    needed.
    """
    if output is not None and not layers:
        raise UsageError("--output is for the chart of --layers.")
    if checkpoint is None:
        require_no_proof_options(proof_options)
    else:
        import_extra("export", "onnx", "torch")
    if layers:
        if checkpoint is None:
            raise UsageError("--layers needs --checkpoint CHECKPOINT: its layers are compared.")
        if artefact is not None:
            raise UsageError("--layers compares every artefact: leave out --artefact.")
        _layers(bundle, checkpoint, proof_options.music, output, as_json)
        return
    from ...export.bundle.newest import newest
    from ...runtime.bundle.manifest import Bundle, load_bundle
    from ...runtime.bundle.shipped import WITHOUT_ANSWERS, is_shipped
    from ...runtime.parity.here import runs_here, unproven
    from ...runtime.parity.prove import peak_memory_mb, prove
    from ...runtime.parity.stored import Answers
    from .report import parity_tables

    if checkpoint is None and is_shipped(bundle):
        raise UsageError(f"{bundle}: {WITHOUT_ANSWERS}")
    refuse_shipped(bundle)
    loaded = load_bundle(bundle)
    with progress("Parity", None) as bar:
        if artefact is None:
            chosen = loaded.artefacts
            able = [each for each in chosen if runs_here(loaded, each)]
        else:
            chosen = able = [loaded.named(artefact)]
        part = Bundle(**{**dict(loaded), "artefacts": able})
        speeds = {}
        if checkpoint is None:
            speeds = prove(part, Answers(loaded), bar.advance)
        else:
            from ...export.parity.gate import parity as measure

            measure(part, proof_of(loaded, checkpoint, proof_options, bar.advance))
    with newest(loaded) as current:
        certificates = {each.digest: each.certificate for each in able}
        for each in current.artefacts:
            each.certificate = certificates.get(each.digest, each.certificate)
        current.save(bundle)
    facts = loaded.model_dump()
    if speeds:
        facts["here"] = {"ms_per_second": speeds, "peak_memory_mb": peak_memory_mb()}
    show(
        as_json,
        facts,
        *parity_tables(able, verbose),
        *(f"{name}: {ms:.3g} ms per second of audio here." for name, ms in speeds.items()),
        f"Memory at most: {peak_memory_mb():.0f} MB." if speeds else "",
        *(unproven(loaded, each) for each in chosen if each not in able),
    )
    failed = [each.name for each in able if not each.certified]
    if failed:
        raise ParityError(f"{bundle}: not the reference's numbers: {', '.join(failed)}.")


def _layers(
    folder: Path, checkpoint: str, music: list[Path] | None, output: Path | None, as_json: bool
) -> None:
    from ...export.layers import chart_file, draw, layer_differences, layer_tables
    from ...export.parity.excerpt import excerpts
    from ...export.parity.proof import Proof
    from ...export.sources.checkpoint import load_source
    from ...runtime.bundle.manifest import load_bundle

    chart = chart_file(output) if output is not None else None
    loaded, chosen = load_bundle(folder), excerpts(music or [])
    with progress("Layers", len(chosen)) as bar:
        proof = Proof(load_source(checkpoint), music=chosen, on_step=bar.advance)
        found = layer_differences(loaded, proof)
    if chart is not None:
        draw(f"{loaded.source.checkpoint}: hidden states against PyTorch's", found, chart)
    wrote = f"Wrote {chart}." if chart is not None else ""
    show(as_json, {"levels": [asdict(each) for each in found]}, *layer_tables(found), wrote)


def _head_line(head: "TagHead | ScoreHead", is_own: bool) -> str:
    labels = head.record.spec.shape[-1]
    line = f"{labels} {head.record.output}, by the head {head.name}"
    return f"{line}, the checkpoint's own (--no-head leaves it out)." if is_own else f"{line}."
