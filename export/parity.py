"""The parity gate: every artefact against the fp32 PyTorch reference, on real music."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ..environment import environment
from ..errors import AudioError, CheckpointError
from ..reference.checkpoint import Checkpoint
from ..runtime import audio
from ..runtime.bundle import Artefact, Bundle
from ..runtime.certificate import (
    AnyMeasurement,
    Certificate,
    Measurement,
    TokenMeasurement,
    certifies,
)
from ..runtime.frames import OverlappingFrames
from ..runtime.open_session import open_session
from ..runtime.parts import FRAMES
from ..runtime.session import WAVEFORM, Arrays, Parts, Session
from ..runtime.tagging import TAGS
from ..runtime.tokens import TOKENS
from .engine_shapes import in_engines_shapes, takes
from .tagging import TagHead
from .token_parity import equal_tokens
from .tokens import TokenRvq, require_rvq

EXAMPLES = Path(__file__).parent.parent / "examples" / "audio"
# Those that need no optional decoder.
EXAMPLE_FILES = ("ode_to_joy_band.ogg", "greensleeves_duo.flac", "bach_prelude_c.mp3")
# In samples: 1, 5, 10 and 30 s, and lengths that are multiples of nothing.
EXCERPT_SAMPLES = (24_000, 120_000, 240_000, 720_000, 1_025, 33_333, 123_457)
BIT_16 = 2.0**15
SILENCE = 1e-3  # of full scale: nothing but dither and noise lies below


@dataclass(frozen=True)
class Excerpt:
    """A piece of music to compare on; ``waveform`` is (batch, samples) float32 at 24 kHz."""

    name: str
    waveform: np.ndarray

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.waveform.shape[-1] / audio.SAMPLE_RATE_HZ


OnExcerpt = Callable[[Excerpt], None]


def excerpts(files: Sequence[Path] = ()) -> list[Excerpt]:
    """Excerpts of every length in ``EXCERPT_SAMPLES``, taking turns through the files.

    They are dithered to 16 bits, as mastered music is. Encoders and synthesisers leave bands
    that are emptier than that, over 100 dB below the loudest one, where any two fp32 transforms,
    the reference's included, hold nothing but their own rounding noise: 1e-4 to 4e-4 of the
    features' norm, measured against a float64 transform.

    Args:
        files: music; the clips that come with the package when empty. One that is shorter than
            an excerpt is played in a loop.

    Raises:
        AudioError: a file cannot be decoded, or is silent.
    """
    files = list(files) or [EXAMPLES / name for name in EXAMPLE_FILES]
    music = [(path.name, dithered(beginning(path))) for path in files]
    silent = [name for name, waveform in music if np.abs(waveform).max() < SILENCE]
    if silent:
        raise AudioError(f"parity needs music; these are silent: {', '.join(silent)}.")
    found = []
    for turn, samples in enumerate(EXCERPT_SAMPLES):
        name, waveform = music[turn % len(music)]
        found.append(Excerpt(name, np.resize(waveform, (1, samples))))
    # A batch of different music: an engine that mixes up its rows must not pass.
    rows = [np.resize(waveform, EXCERPT_SAMPLES[1]) for _, waveform in music]
    found.append(Excerpt("all, as a batch", np.stack(rows)))
    return found


def beginning(path: Path) -> np.ndarray:
    """As much of a file as the longest excerpt takes, however long it is."""
    blocks: list[np.ndarray] = []
    for block in audio.stream(path):
        blocks.append(block)
        if sum(map(len, blocks)) >= max(EXCERPT_SAMPLES):
            break
    return np.concatenate(blocks)[: max(EXCERPT_SAMPLES)]


def dithered(waveform: np.ndarray) -> np.ndarray:
    """Round to 16 bits with triangular dither of one bit, seeded."""
    noise = np.random.default_rng(0).random((2, *waveform.shape))
    return (np.rint(waveform * BIT_16 + noise[0] - noise[1]) / BIT_16).astype(np.float32)


def measure(excerpt: Excerpt, output: str, ours: np.ndarray, reference: np.ndarray) -> Measurement:
    """Compare one output with the reference's, both (..., width)."""
    ours, reference = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (ours, reference))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    with np.errstate(all="ignore"):
        cosines = (ours * reference).sum(1) / norms
        relative = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    return Measurement(
        audio=excerpt.name,
        seconds=excerpt.seconds,
        output=output,
        finite=bool(np.isfinite(ours).all() and np.isfinite(reference).all()),
        worst_frame_cosine=_number(cosines.min(), worst=-1.0),
        relative_l2=_number(relative, worst=1e30),
        largest_difference=_number(np.abs(ours - reference).max(), worst=1e30),
    )


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
    is compared on what its profiles cover, and that at least in their own shapes.

    Raises:
        CheckpointError: the checkpoint, the head or the RVQ is not the one the bundle was made
            from.
    """
    require_source(bundle, checkpoint)
    require_head(bundle, head)
    require_rvq(bundle, rvq)
    sessions = [open_session(bundle, artefact) for artefact in bundle.artefacts]
    measurements: list[list[AnyMeasurement]] = [[] for _ in sessions]
    for excerpt in [*music, *in_engines_shapes(bundle, music)]:
        waveform = torch.from_numpy(excerpt.waveform)
        with torch.inference_mode():
            states = checkpoint.model(waveform).hidden_states
            log_mel = checkpoint.model.model.preprocessor_melspec_2048(waveform)
        references = [state.numpy() for state in states]
        equal = None
        if rvq is not None:
            equal = partial(equal_tokens, rvq.rvq, rvq.input(log_mel, states))
        for session, artefact, found in zip(sessions, bundle.artefacts, measurements, strict=True):
            if takes(artefact, excerpt):
                found.extend(_measurements(session, artefact, excerpt, references, head, equal))
        if on_excerpt is not None:
            on_excerpt(excerpt)
    for session, artefact, found in zip(sessions, bundle.artefacts, measurements, strict=True):
        session.close()
        artefact.certificate = _certificate(checkpoint, artefact, found)


def _measurements(
    session: Session,
    artefact: Artefact,
    excerpt: Excerpt,
    states: list[np.ndarray],
    head: TagHead | None,
    equal: Callable[[np.ndarray], float] | None,
) -> Iterator[AnyMeasurement]:
    expected: dict[str, Callable[[], np.ndarray]] = {
        "features": lambda: states[artefact.level],
        "embedding": lambda: states[artefact.level].mean(axis=1),
        "hidden_states": lambda: np.stack(states[: artefact.level + 1], axis=1),
    }
    if head is not None:
        expected[TAGS] = partial(head.expected, states)
    inputs, name = {WAVEFORM: excerpt.waveform}, excerpt.name
    answers = {name: session.run(inputs)}
    if TOKENS in session.outputs:
        # They may come from a graph of their own.
        answers[f"{name}, tokens alone"] = session.run(inputs, [TOKENS])
    if session.parts is not None:
        answers[f"{name}, in parts"] = _in_parts(session.parts, excerpt.waveform)
    for called, answer in answers.items():
        for output, ours in answer.items():
            if output == TOKENS and equal is not None:
                yield TokenMeasurement(
                    audio=called,
                    seconds=excerpt.seconds,
                    tokens=ours.size,
                    equal_tokens=equal(ours),
                )
            else:
                of = replace(excerpt, name=called)
                yield measure(of, output, ours, expected[output]())


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


def _number(value: np.floating, worst: float) -> float:
    """JSON has no NaN; a figure that is not a number counts as the worst there is."""
    return float(value) if np.isfinite(value) else worst
