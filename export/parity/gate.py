"""The parity gate: every artefact against the fp32 PyTorch reference, on real music."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone

import numpy as np

from ...common.environment import environment
from ...errors import ParityError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import AnyMeasurement, Certificate, certifies
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.open_session import open_to_compare
from ...runtime.engines.session import WAVEFORM, Levels, Session
from ...runtime.parity.asking import answers as ask
from ...runtime.parity.texts import text_measurements
from ...runtime.text.tokenizer import TextTokenizer
from ..outputs import registry
from ..outputs.output import Answer, Reference
from ..outputs.registry import output_named
from ..sources.checkpoint import JointCheckpoint
from ..sources.texts import TEXTS
from .answers import AnswerBook
from .engine_shapes import in_engines_shapes, takes
from .excerpt import Excerpt
from .proof import Proof
from .reference_name import reference_name


def parity(
    bundle: Bundle, proof: Proof, what: str = "parity", book: AnswerBook | None = None
) -> None:
    """Compare every artefact with the reference and put its certificate into ``bundle``.

    The manifest is not saved here. A TensorRT engine is compared on what its profiles cover, and
    that at least in their own shapes; a text tower on texts, and on how the music ranks for them.

    Args:
        bundle: whose artefacts.
        proof: the reference and the music.
        what: names the steps.
        book: collects the reference's answers to the music.

    Raises:
        CheckpointError: the checkpoint, the head or the RVQ is not the one the bundle was made
            from.
    """
    proof = proof.of(bundle)
    proof.require(bundle)
    checkpoint, artefacts = proof.checkpoint, bundle.audio_artefacts
    measurements: list[list[AnyMeasurement]] = [[] for _ in artefacts]
    texts = [each for each in bundle.artefacts if each.tower == "text"]
    pieces = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(_session(bundle, each)) for each in artefacts]
        for excerpt in [*proof.music, *in_engines_shapes(bundle, proof.music)]:
            reference = proof.reference(excerpt.waveform)
            for session, artefact, found in zip(sessions, artefacts, measurements, strict=True):
                if takes(artefact, excerpt):
                    found += _measured(session, artefact, excerpt, reference)
            if texts:
                level = max((each.level for each in artefacts), default=0)
                pieces.append(reference.expected(output_named(LATENTS), level))
            if book is not None:
                book.add(excerpt, reference)
            proof.on_step(f"{what}: {excerpt.name}")
    for artefact, session, found in zip(artefacts, sessions, measurements, strict=True):
        artefact.certificate = _certificate(checkpoint, artefact, found, session)
    for artefact in texts:
        assert isinstance(checkpoint, JointCheckpoint)  # or the bundle would have no joint space
        with _session(bundle, artefact) as session:
            tokenizer = TextTokenizer(checkpoint.tokenizer, checkpoint.joint.max_tokens)
            expected = checkpoint.proving_texts
            found = [*text_measurements(session, tokenizer, TEXTS, expected, pieces)]
        artefact.certificate = _certificate(checkpoint, artefact, found, session)


def refuse_uncertified(bundle: Bundle) -> None:
    """Raise ParityError, with the worst figures, unless every artefact is certified."""
    for artefact in bundle.artefacts:
        if not artefact.certified:
            raise ParityError(
                f"{artefact.name} ({artefact.precision}) does not match the reference: "
                f"{_worst_figures(artefact)}. Nothing was written."
            )


def _session(bundle: Bundle, artefact: Artefact) -> Session:
    """Open an artefact to be measured beside the reference, which has threads of its own."""
    return open_to_compare(bundle, artefact, spinning=False)


def _worst_figures(artefact: Artefact) -> str:
    assert artefact.certificate is not None  # measured just before
    measured = {each.output for each in artefact.certificate.measurements}
    outputs = [output for output in registry.OUTPUTS if output.name in measured]
    return ", ".join(dict.fromkeys(each.figures(artefact.certificate.worst) for each in outputs))


def _measured(
    session: Session, artefact: Artefact, excerpt: Excerpt, reference: Reference
) -> Iterator[AnyMeasurement]:
    """Compare every output of an artefact with the reference's, for each way of asking."""
    ways = ask(session, excerpt.name, excerpt.waveform, registry.requests([*session.outputs]))
    for name, answers in ways.items():
        about = Answer(name, excerpt.seconds, artefact.level)
        for output, ours in answers.items():
            yield from output_named(output).measurements(reference, about, ours)
    if session.levels is not None and session.parts is not None:
        (frames,) = session.parts.front_end.run({WAVEFORM: excerpt.waveform}).values()
        for level, ours in _each_level(session.levels, frames):
            about = Answer(f"{excerpt.name}, level {level}", excerpt.seconds, level)
            yield from output_named("features").measurements(reference, about, ours)


def _each_level(levels: Levels, frames: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every hidden state, each computed from the one before it."""
    x = frames
    for level in range(levels.deepest + 1):
        x = levels.run(x, max(level - 1, 0), level)
        yield level, x


def _certificate(
    checkpoint: Checkpoint,
    artefact: Artefact,
    measurements: list[AnyMeasurement],
    session: Session,
) -> Certificate:
    return Certificate(
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        reference=reference_name(checkpoint),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment() | dict(session.provenance),
        measurements=measurements,
        passed=certifies(artefact.precision, measurements),
    )
