"""A MuQ-MuLan's towers by turns: PyTorch eager against every artefact, on clips and on texts."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...errors import CheckpointError
from ...export.sources.checkpoint import JointCheckpoint, load_source, require_source
from ...runtime.audio.read import SAMPLE_RATE_HZ
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import WAVEFORM, Session
from ..measure.agreement import agreement
from ..measure.latency import Cell, music
from ..measure.neighbours import watch_neighbours
from ..measure.report import Report, Section
from ..measure.timing import EAGER, Timing, by_turns, compare

# Texts at once, and tokens in each, the two special ones included.
TEXTS = ((1, 12), (1, 60), (16, 20))
_FIRST_WORD = 4  # the ids below are special tokens
_BUDGET_SECONDS = 120.0
_COLUMNS = ("input", "contender", "median, ms", "p10 to p90, ms", "times eager", "cosine", "rounds")
_NOTE = (
    "The contenders took turns in one process, with the same number of threads, after a first call "
    "each whose embeddings were compared with eager's. A turn is two calls, of which the second is "
    "timed. *times eager* is the median over the rounds of eager's seconds over the contender's. "
    "Features alone have no tower: the difference is what the tower costs."
)

Run = Callable[[], np.ndarray]
_Opened = tuple[Artefact, Session]


@dataclass(frozen=True, kw_only=True)
class TowerTime(Timing):
    """One contender on one input.

    Attributes:
        input: what was asked, in words.
        worst_cosine: of its embeddings with eager's; None where it gives none.
    """

    input: str
    worst_cosine: float | None

    def row(self) -> list[str]:
        """Its cells in the table."""
        cosine = "" if self.worst_cosine is None else f"{self.worst_cosine:.6f}"
        rounds = str(len(self.samples_seconds))
        return [self.input, self.contender, *self.cells(scale=1000), cosine, rounds]


@dataclass(frozen=True, kw_only=True)
class TowerReport(Report):
    """One run of ``muqrt bench towers``.

    Attributes:
        checkpoint: its name.
        threads: CPU threads of each contender.
        neighbours_share: of the cores' time, taken by other programs meanwhile, 0 to 1.
        times: every contender's on every input.
    """

    checkpoint: str
    threads: int
    neighbours_share: float
    times: list[TowerTime]

    def results(self) -> list[Section]:
        """One table: a row for each contender on each input."""
        rows = [each.row() for each in self.times]
        title = f"Towers on {self.environment['cpu']}, threads: {self.threads}"
        return [Section(title, _COLUMNS, rows, f"{_NOTE} Checkpoint: {self.checkpoint}.")]

    def remarks(self) -> list[str]:
        """How busy the machine was."""
        return [f"Other programs took {self.neighbours_share:.0%} of the cores' time meanwhile."]


@dataclass(frozen=True)
class _Contender:
    """``is_embedding``: whether its answer must be eager's, within its precision."""

    name: str
    precision: Precision
    run: Run
    is_embedding: bool = True


def run(
    bundle: Bundle,
    checkpoint: str,
    threads: int,
    rounds: int,
    on_step: Callable[[str], None] = lambda what: None,
) -> TowerReport:
    """Measure every certified artefact of ONNX Runtime.

    Args:
        bundle: a MuQ-MuLan's.
        checkpoint: what the bundle was made from.
        threads: CPU threads of each contender.
        rounds: how many rounds to run.
        on_step: called after each of the ``len(TEXTS) + 1`` inputs.

    Raises:
        CheckpointError: the bundle was not made from it, or it is no MuQ-MuLan.
        ParityError: an answer is not the reference's.
    """
    reference = load_source(checkpoint)
    require_source(bundle, reference)
    if not isinstance(reference, JointCheckpoint):
        raise CheckpointError(f"{checkpoint}: no MuQ-MuLan, so it has no towers.")
    torch.set_num_threads(threads)
    share, times = watch_neighbours(), []
    with ExitStack() as stack:
        sessions = [
            (each, stack.enter_context(open_session(bundle, each, threads)))
            for each in bundle.artefacts
            if each.engine == "onnxruntime" and each.certified
        ]
        inputs = [_clip(reference, [each for each in sessions if each[0].tower is None])]
        texts = [each for each in sessions if each[0].tower == "text"]
        inputs += [_texts(reference, texts, *size) for size in TEXTS]
        for what, contenders in inputs:
            times += _times(what, contenders, rounds)
            on_step(what)
    return TowerReport(
        checkpoint=Path(reference.name).name,
        threads=threads,
        neighbours_share=share(),
        times=times,
    )


def _clip(reference: JointCheckpoint, opened: list[_Opened]) -> tuple[str, list[_Contender]]:
    """A clip's embedding, and each artefact's features alone: the difference is the tower's."""
    seconds = reference.joint.clip_samples / SAMPLE_RATE_HZ
    waveform = music(Cell(seconds, 1))
    clip = torch.from_numpy(waveform)
    contenders = [_eager(lambda: reference.mulan.audio_latents(clip))]
    for artefact, session in opened:
        answer = _answers(session, {WAVEFORM: waveform})
        contenders.append(_Contender(artefact.name, artefact.precision, answer(LATENTS)))
        alone = f"{artefact.name}, features alone"
        contenders.append(_Contender(alone, artefact.precision, answer("features"), False))
    return f"audio, a clip of {seconds:g} s", contenders


def _texts(
    reference: JointCheckpoint, opened: list[_Opened], batch: int, tokens: int
) -> tuple[str, list[_Contender]]:
    """Texts' embeddings, for random words."""
    shape = (batch, tokens)
    ids = np.random.default_rng(0).integers(_FIRST_WORD, reference.joint.vocabulary, shape)
    mask = np.ones_like(ids)
    given = torch.from_numpy(ids), torch.from_numpy(mask)
    contenders = [_eager(lambda: reference.mulan.text_latents(*given))]
    for artefact, session in opened:
        answer = _answers(session, {IDS.name: ids, MASK.name: mask})
        contenders.append(_Contender(artefact.name, artefact.precision, answer(LATENTS)))
    return f"text, {batch} of {tokens} tokens", contenders


def _eager(latents: Callable[[], torch.Tensor]) -> _Contender:
    def run() -> np.ndarray:
        with torch.inference_mode():
            return latents().numpy()

    return _Contender(EAGER, "fp32", run)


def _answers(session: Session, inputs: dict[str, np.ndarray]) -> Callable[[str], Run]:
    return lambda output: lambda: session.run(inputs, [output])[output]


def _times(what: str, contenders: list[_Contender], rounds: int) -> list[TowerTime]:
    eager = contenders[0].run()
    cosines: dict[str, float | None] = {}
    for each in contenders:
        answer = each.run()
        cosines[each.name] = None
        if each.is_embedding:
            found = agreement(f"{each.name} on {what}", each.precision, answer, eager)
            cosines[each.name] = found.worst_frame_cosine
    runs = {each.name: each.run for each in contenders}
    samples = by_turns(runs, rounds, _BUDGET_SECONDS, warm_up=True)
    return [
        TowerTime(**vars(timing), input=what, worst_cosine=cosines[timing.contender])
        for timing in compare(samples)
    ]
