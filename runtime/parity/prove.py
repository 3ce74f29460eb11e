"""Compare artefacts with the reference's stored answers: no torch, no checkpoint."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ...common.environment import environment
from ...common.process.resident import peak_rss_bytes
from ...errors import BundleError
from ..bundle.certificate import AnyMeasurement, Certificate, TokenMeasurement, certifies
from ..bundle.engine_options import Shaped
from ..bundle.joint import LATENTS
from ..bundle.manifest import Artefact, Bundle
from ..bundle.tokens import TOKENS
from ..engines.open_session import open_to_compare
from ..engines.session import WAVEFORM, Session
from ..text.tokenizer import TextTokenizer
from .asking import answers as ask
from .measuring import measure, measure_ranks
from .stored import ERROR, ERROR_SCALE, EXPECTED, Answers
from .texts import text_measurements
from .tokens import Stage, equal_tokens, stages_of

OnStep = Callable[[str], None]

_TIMED_SECONDS = 10.0  # of audio, at most


def prove(
    bundle: Bundle, answers: Answers, on_step: OnStep = lambda what: None
) -> dict[str, float]:
    """Compare every artefact with stored answers and put its certificate into ``bundle``.

    The manifest is not saved. An engine is compared on the excerpts that its shapes cover.

    Args:
        bundle: whose artefacts; this machine can run all of them.
        answers: of the bundle that they belong to.
        on_step: called after each artefact's run on an excerpt with what was done.

    Returns:
        How many milliseconds each audio artefact takes for a second of audio, by its name.
    """
    with _fitting(bundle, "the manifest"):
        truth, speeds = _Truth(bundle, answers), dict[str, float]()
    for artefact in bundle.artefacts:
        with open_to_compare(bundle, artefact) as session:
            with _fitting(bundle, artefact.name):
                if artefact.tower == "text":
                    found = list(_on_texts(bundle, session, truth))
                else:
                    found = list(_on_music(artefact, session, truth, on_step))
            if artefact.tower is None and not session.provenance:
                speed = _ms_per_second(artefact, session, truth)
                speeds |= {artefact.name: speed} if speed is not None else {}
        artefact.certificate = Certificate(
            precision=artefact.precision,
            artefact_sha256=artefact.digest,
            reference=f"{answers.record.reference}, its answers stored in the bundle",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=environment() | dict(session.provenance),
            measurements=found,
            passed=certifies(artefact.precision, found),
        )
    return speeds


@contextmanager
def _fitting(bundle: Bundle, what: str) -> Iterator[None]:
    """Raise BundleError where the stored answers are not of such a model."""
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{bundle.folder}: the stored answers and {what} do not fit together "
            f"({type(error).__name__}: {error}). Export the bundle again."
        ) from None


def peak_memory_mb() -> float:
    """The most memory that this process has held so far."""
    return peak_rss_bytes() / 1e6


def covered(options: Shaped, batch: int, samples: int) -> int:
    """How many rows of an excerpt, repeated or left out, an engine takes; 0 where none."""
    for profile in options.profiles:
        (fewest, shortest), _, (most, longest) = profile.waveforms
        if shortest <= samples <= longest:
            return min(max(batch, fewest), most)
    return 0


@dataclass(frozen=True, eq=False)
class _Expected:
    """An excerpt in the shape that an engine takes, and what the reference answers to it."""

    waveform: np.ndarray
    by_output: Mapping[str, Mapping[str, np.ndarray]]


class _Truth:
    """Stored answers, as comparisons take them."""

    def __init__(self, bundle: Bundle, answers: Answers) -> None:
        self.answers, self.record = answers, answers.record
        self._where = bundle.folder
        self.texts: np.ndarray | None = answers.arrays("texts").get(LATENTS)
        self.stages: list[Stage] = stages_of(answers.arrays("rvq"))

    def expected(
        self, index: int, outputs: Sequence[str], options: Shaped | None
    ) -> _Expected | None:
        """An excerpt and the answers to it; None where an engine takes nothing of its length.

        Raises:
            BundleError: no answers are stored for an output, which must not go unproven.
        """
        waveform = self.answers.waveform(index)
        rows = covered(options, *waveform.shape) if options is not None else len(waveform)
        if rows == 0:
            return None
        chosen = np.arange(rows) % len(waveform)
        by_output = {
            name: {what: x[chosen] for what, x in self.answers.arrays(f"{index}/{name}").items()}
            for name in outputs
        }
        lacking = [name for name, each in by_output.items() if not each]
        if LATENTS in by_output and self.texts is None:
            lacking.append("texts")
        if lacking:
            raise BundleError(
                f"{self._where}: {self.record.file} holds no answers for {', '.join(lacking)}; "
                "export the bundle again."
            )
        return _Expected(waveform[chosen], by_output)


def _on_music(
    artefact: Artefact, session: Session, truth: _Truth, on_step: OnStep
) -> Iterator[AnyMeasurement]:
    options = artefact.shapes
    level_is_known = artefact.level == truth.record.level
    outputs = [spec.name for spec in artefact.outputs if level_is_known]
    for index, name in enumerate(truth.record.audio):
        expected = truth.expected(index, outputs, options)
        if expected is None:
            continue
        seconds = expected.waveform.shape[1] / session.framing.sample_rate_hz
        for way, found in ask(session, name, expected.waveform, truth.record.requests).items():
            for output, ours in found.items():
                if output in expected.by_output:
                    about = way, seconds, output
                    yield from _compared(truth, about, ours, expected.by_output[output])
        on_step(f"{artefact.name}: {name}")


def _ms_per_second(artefact: Artefact, session: Session, truth: _Truth) -> float | None:
    """Time one more run on the longest excerpt of at most 10 s; None where there is none."""
    options, longest = artefact.shapes, None
    for index in range(len(truth.record.audio)):
        expected = truth.expected(index, [], options)
        if expected is None or expected.waveform.shape[1] > (
            _TIMED_SECONDS * session.framing.sample_rate_hz
        ):
            continue
        if longest is None or expected.waveform.size > longest.size:
            longest = expected.waveform
    if longest is None:
        return None
    start = time.perf_counter()
    session.run({WAVEFORM: longest})
    return (time.perf_counter() - start) * 1e3 / (longest.size / session.framing.sample_rate_hz)


def _compared(
    truth: _Truth,
    about: tuple[str, float, str],
    ours: np.ndarray,
    expected: Mapping[str, np.ndarray],
) -> Iterator[AnyMeasurement]:
    """Compare one answer with the reference's.

    Args:
        truth: what the excerpts share.
        about: the way of asking, the excerpt's seconds and the output's name.
        ours: the answer.
        expected: the arrays of the reference's.
    """
    way, seconds, output = about
    theirs = expected[EXPECTED]
    if output == TOKENS:
        exact = theirs.astype(np.float64) + expected[ERROR].astype(np.float64) / ERROR_SCALE
        equal = equal_tokens(truth.stages, theirs, ours, exact)
        yield TokenMeasurement(audio=way, seconds=seconds, tokens=ours.size, equal_tokens=equal)
        return
    yield measure(way, seconds, output, ours, theirs)
    if output == LATENTS and truth.texts is not None:
        yield measure_ranks(way, seconds, ours @ truth.texts.T, theirs @ truth.texts.T)


def _on_texts(bundle: Bundle, session: Session, truth: _Truth) -> Iterator[AnyMeasurement]:
    if truth.texts is None or bundle.joint is None:
        return
    tokenizer = TextTokenizer(bundle.path(bundle.joint.tokenizer), bundle.joint.max_tokens)
    every = [truth.answers.arrays(f"{i}/{LATENTS}") for i in range(len(truth.record.audio))]
    music = [each[EXPECTED] for each in every if each]
    yield from text_measurements(session, tokenizer, truth.record.texts, truth.texts, music)
