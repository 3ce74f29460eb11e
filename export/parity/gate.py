"""The parity gate: every artefact against the fp32 PyTorch reference, on real music."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import version

import numpy as np

from ...common.environment import environment
from ...errors import MissingDependencyError, ParityError, SessionError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import AnyMeasurement, Certificate, certifies
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.parts import FRAMES
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import WAVEFORM, Arrays, Parts, Session
from ...runtime.inference.frames import OverlappingFrames
from ..outputs import registry
from ..outputs.output import Answer, Reference
from ..outputs.registry import output_named
from ..sources.checkpoint import JointCheckpoint
from .engine_shapes import in_engines_shapes, takes
from .excerpt import Excerpt
from .proof import Proof
from .texts import text_measurements


def parity(bundle: Bundle, proof: Proof, what: str = "parity") -> None:
    """Compare every artefact with the reference and put its certificate into ``bundle``.

    The manifest is not saved here. A TensorRT engine is compared on what its profiles cover, and
    that at least in their own shapes; a text tower on texts, and on how the music ranks for them.

    Args:
        bundle: whose artefacts.
        proof: the reference and the music.
        what: names the steps.

    Raises:
        CheckpointError: the checkpoint, the head or the RVQ is not the one the bundle was made
            from.
    """
    proof.require(bundle)
    checkpoint, artefacts = proof.checkpoint, bundle.audio_artefacts
    measurements: list[list[AnyMeasurement]] = [[] for _ in artefacts]
    texts = [each for each in bundle.artefacts if each.tower == "text"]
    pieces = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(bundle, each)) for each in artefacts]
        for excerpt in [*proof.music, *in_engines_shapes(bundle, proof.music)]:
            reference = Reference(checkpoint, proof.sources, excerpt.waveform)
            for session, artefact, found in zip(sessions, artefacts, measurements, strict=True):
                if takes(artefact, excerpt):
                    found += _measured(session, artefact, excerpt, reference)
            if texts:
                level = max((each.level for each in artefacts), default=0)
                pieces.append(reference.expected(output_named(LATENTS), level))
            proof.on_step(f"{what}: {excerpt.name}")
    for artefact, found in zip(artefacts, measurements, strict=True):
        artefact.certificate = _certificate(checkpoint, artefact, found)
    for artefact in texts:
        assert isinstance(checkpoint, JointCheckpoint)  # or the bundle would have no joint space
        with open_session(bundle, artefact) as session:
            found = [*text_measurements(session, checkpoint, pieces)]
        artefact.certificate = _certificate(checkpoint, artefact, found)


def refuse_uncertified(bundle: Bundle) -> None:
    """Raise ParityError, with the worst figures, unless every artefact is certified."""
    for artefact in bundle.artefacts:
        if not artefact.certified:
            raise ParityError(
                f"{artefact.name} ({artefact.precision}) does not match the reference: "
                f"{_worst_figures(artefact)}. Nothing was written."
            )


def runs_here(bundle: Bundle, artefact: Artefact) -> bool:
    """Whether this machine has the artefact's engine and its engine the artefact's arithmetic.

    ONNX Runtime's CPU widens float16 and, up to 1.31 at least, refuses bfloat16.
    """
    is_onnx, is_bf16 = artefact.engine == "onnxruntime", artefact.precision == "bf16"
    if is_onnx and not is_bf16:
        return True  # not to be hashed and opened twice
    shortest = np.zeros((1, bundle.framing.minimum_samples), np.float32)
    try:
        with open_session(bundle, artefact) as session:
            if is_onnx:
                session.run({WAVEFORM: shortest})
    except (MissingDependencyError, SessionError):
        return False
    return True


def unproven(bundle: Bundle, artefact: Artefact) -> str:
    """Explain to the user that an artefact does not run here and was not proven."""
    return (
        f"{artefact.name} was not proven: this machine's {artefact.engine} cannot run "
        f"{artefact.precision}. Until it has a certificate nothing chooses it, but engines can be "
        f"built from it. Where one can: muqrt parity {bundle.folder} --checkpoint CHECKPOINT"
    )


def _worst_figures(artefact: Artefact) -> str:
    assert artefact.certificate is not None  # measured just before
    measured = {each.output for each in artefact.certificate.measurements}
    outputs = [output for output in registry.OUTPUTS if output.name in measured]
    return ", ".join(dict.fromkeys(each.figures(artefact.certificate.worst) for each in outputs))


def _measured(
    session: Session, artefact: Artefact, excerpt: Excerpt, reference: Reference
) -> Iterator[AnyMeasurement]:
    """Compare every output of an artefact with the reference's, for each way of asking."""
    for name, answers in _answers(session, excerpt).items():
        about = Answer(name, excerpt.seconds, artefact.level)
        for output, ours in answers.items():
            yield from output_named(output).measurements(reference, about, ours)


def _answers(session: Session, excerpt: Excerpt) -> dict[str, Arrays]:
    """Run an artefact on an excerpt in each way; returns the outputs by the way's name."""
    inputs, name = {WAVEFORM: excerpt.waveform}, excerpt.name
    answers = {name: session.run(inputs)}
    for output in registry.OUTPUTS:
        for way, outputs in output.requests(session.outputs).items():
            answers[f"{name}, {way}"] = session.run(inputs, outputs)
    if session.parts is not None:
        answers[f"{name}, in parts"] = _in_parts(session.parts, excerpt.waveform)
    return answers


def _in_parts(parts: Parts, waveform: np.ndarray) -> Arrays:
    """Run the parts as for a window of a long track whose middle frames an earlier window
    computed."""
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
