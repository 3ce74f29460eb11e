"""The parity gate: every artefact against the fp32 PyTorch reference, on real music."""

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version

import numpy as np

from ...common.environment import environment
from ...errors import CheckpointError, ParityError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import AnyMeasurement, Certificate, certifies
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.parts import FRAMES
from ...runtime.bundle.tagging import TAGS
from ...runtime.bundle.tokens import TOKENS
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import WAVEFORM, Arrays, Parts, Session
from ...runtime.inference.frames import OverlappingFrames
from ..sources.checkpoint import JointCheckpoint
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq, require_rvq
from .engine_shapes import in_engines_shapes, takes
from .excerpts import Excerpt, OnExcerpt
from .expected import Expected
from .texts import TEXTS, text_measurements


def require_source(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError unless the bundle was made from this very checkpoint."""
    if checkpoint.sha256 != bundle.source.sha256:
        raise CheckpointError(
            f"{checkpoint.name}: not the checkpoint of {bundle.folder}, which was made from "
            f"{bundle.source.checkpoint} (SHA-256 {bundle.source.sha256[:12]}...)."
        )


def require_head(bundle: Bundle, head: TagHead | None) -> None:
    """Raise CheckpointError unless the bundle was made with this very head, or without one."""
    ours = bundle.tagging.head_sha256 if bundle.tagging is not None else None
    if ours is not None and head is None:
        raise CheckpointError(
            f"{bundle.folder}: its tags can be compared only with their head; name the head's "
            "folder with --head."
        )
    theirs = head.tagging.head_sha256 if head is not None else None
    if head is not None and ours != theirs:
        made = f"with another (SHA-256 {ours[:12]}...)" if ours is not None else "without one"
        raise CheckpointError(f"{head.name}: not the head of {bundle.folder}, made {made}.")


def parity(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    on_excerpt: OnExcerpt | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
) -> None:
    """Compare every artefact with the reference and put its certificate into ``bundle``.

    The manifest is not saved here. ``on_excerpt`` is called after each excerpt. A TensorRT engine
    is compared on what its profiles cover, and that at least in their own shapes; a text tower on
    texts, and on how the music ranks for them.

    Raises:
        CheckpointError: the checkpoint, the head or the RVQ is not the one the bundle was made
            from.
    """
    require_source(bundle, checkpoint)
    require_head(bundle, head)
    require_rvq(bundle, rvq)
    texts = checkpoint.text_latents(TEXTS) if isinstance(checkpoint, JointCheckpoint) else None
    sessions = [open_session(bundle, artefact) for artefact in bundle.audio_artefacts]
    measurements: list[list[AnyMeasurement]] = [[] for _ in sessions]
    latents = []
    for excerpt in [*music, *in_engines_shapes(bundle, music)]:
        expected = Expected(checkpoint, excerpt.waveform, head, rvq, texts)
        latents.append(expected.latents)
        for session, artefact, found in zip(
            sessions, bundle.audio_artefacts, measurements, strict=True
        ):
            if takes(artefact, excerpt):
                for name, answer in _answers(session, excerpt).items():
                    found += expected.measurements(name, excerpt.seconds, artefact.level, answer)
        if on_excerpt is not None:
            on_excerpt(excerpt)
    for session, artefact, found in zip(
        sessions, bundle.audio_artefacts, measurements, strict=True
    ):
        session.close()
        artefact.certificate = _certificate(checkpoint, artefact, found)
    if isinstance(checkpoint, JointCheckpoint) and texts is not None:
        pieces = [each for each in latents if each is not None]
        _prove_text_towers(bundle, checkpoint, texts, pieces)


def refuse_uncertified(bundle: Bundle) -> None:
    """Raise ParityError, with the worst figures, unless every artefact is certified."""
    for artefact in bundle.artefacts:
        if not artefact.certified:
            raise ParityError(
                f"{artefact.name} ({artefact.precision}) does not match the reference: "
                f"{_worst_figures(artefact)}. Nothing was written."
            )


def _worst_figures(artefact: Artefact) -> str:
    assert artefact.certificate is not None  # measured just before
    worst = artefact.certificate.worst
    outputs = {each.output for each in artefact.certificate.measurements}
    figures = (
        f"worst frame cosine {worst.worst_frame_cosine:.7f}, relative L2 {worst.relative_l2:.2e}"
    )
    if TAGS in outputs:
        figures += f", largest change of a tag {worst.largest_tag_change:.2e}"
    if LATENTS in outputs:
        figures += (
            f", worst cosine of latents {worst.worst_latents_cosine:.7f}, equal ranks "
            f"{worst.equal_ranks:.3%}"
        )
    return f"{figures}, equal tokens {worst.equal_tokens:.3%}" if TOKENS in outputs else figures


def _prove_text_towers(
    bundle: Bundle, checkpoint: JointCheckpoint, texts: np.ndarray, music: Sequence[np.ndarray]
) -> None:
    for artefact in bundle.artefacts:
        if artefact.tower == "text":
            with open_session(bundle, artefact) as session:
                found = [*text_measurements(session, checkpoint, texts, music)]
            artefact.certificate = _certificate(checkpoint, artefact, found)


def _answers(session: Session, excerpt: Excerpt) -> dict[str, Arrays]:
    """What an artefact says of an excerpt, on each way it has, by what that is called."""
    inputs, name = {WAVEFORM: excerpt.waveform}, excerpt.name
    answers = {name: session.run(inputs)}
    if TOKENS in session.outputs:
        # They may come from a graph of their own.
        answers[f"{name}, tokens alone"] = session.run(inputs, [TOKENS])
    if LATENTS in session.outputs:
        others = [output for output in session.outputs if output != LATENTS]
        answers[f"{name}, without latents"] = session.run(inputs, others)
    if session.parts is not None:
        answers[f"{name}, in parts"] = _in_parts(session.parts, excerpt.waveform)
    return answers


def _in_parts(parts: Parts, waveform: np.ndarray) -> Arrays:
    """As a window of a long track: an earlier window has given the frames of its middle."""
    framing, frames = parts.front_end.framing, OverlappingFrames(parts.front_end)
    samples = waveform.shape[1]
    steps = samples // framing.step_samples // 4
    middle = waveform[:, steps * framing.step_samples : samples - steps * framing.step_samples]
    if middle.shape[1] >= framing.minimum_samples:
        frames.of(steps, middle)
    return parts.encoder.run({FRAMES: frames.of(0, waveform)})


def _certificate(
    checkpoint: Checkpoint, artefact: Artefact, measurements: list[AnyMeasurement]
) -> Certificate:
    return Certificate(
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        reference=f"PyTorch {version('torch')} fp32 eager, checkpoint {checkpoint.name}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment(),
        measurements=measurements,
        passed=certifies(artefact.precision, measurements),
    )
