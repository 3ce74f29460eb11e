"""A MuQ-MuLan's towers by turns: PyTorch eager against every artefact, on clips and on texts."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from ...common.environment import environment
from ...errors import CheckpointError, ParityError
from ...export.parity.gate import require_source
from ...export.parity.measuring import measure
from ...export.sources.checkpoint import JointCheckpoint, load_source
from ...runtime.audio.read import SAMPLE_RATE_HZ
from ...runtime.bundle.certificate import THRESHOLDS, Precision
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import WAVEFORM, Session
from ..measure.contenders import EAGER
from ..measure.latency import Cell, music
from ..measure.neighbours import watch_neighbours
from ..measure.timing import by_turns, ratios, spread

# Of texts at once and of tokens in each, the two special ones included.
TEXTS = ((1, 12), (1, 60), (16, 20))
_FIRST_WORD = 4  # the ids below are special tokens
# No new round is begun after it, except the third.
_BUDGET_SECONDS = 120.0

Run = Callable[[], np.ndarray]
_Opened = tuple[Artefact, Session]


@dataclass(frozen=True)
class TowerTime:
    """One contender on one input.

    Attributes:
        input: what was asked, in words.
        contender: its name.
        speedup: the median over the rounds of eager's seconds over this contender's.
        worst_cosine: of its embeddings with eager's; None where it gives none.
    """

    input: str
    contender: str
    samples_seconds: list[float]
    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    speedup: float
    worst_cosine: float | None


@dataclass(frozen=True)
class TowerReport:
    """One run of ``muqrt bench-towers``."""

    created: str
    checkpoint: str
    threads: int
    environment: dict[str, str]
    neighbours_share: float
    times: list[TowerTime]


@dataclass(frozen=True)
class _Contender:
    """``is_embedding``: whether its answer is to be eager's, within its precision."""

    name: str
    precision: Precision
    run: Run
    is_embedding: bool = True


def run(
    bundle: Bundle,
    checkpoint: str,
    threads: int,
    rounds: int,
    on_input: Callable[[str], None] = lambda what: None,
) -> TowerReport:
    """Measure every certified artefact of ONNX Runtime.

    Args:
        bundle: of a MuQ-MuLan.
        checkpoint: what it was made from.
        threads: of each contender.
        rounds: how many are wanted.
        on_input: called after each of the ``len(TEXTS) + 1`` inputs.

    Raises:
        CheckpointError: not what the bundle was made from, or no MuQ-MuLan. ParityError: an answer
            is not the reference's.
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
            on_input(what)
    return TowerReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        checkpoint=Path(reference.name).name,
        threads=threads,
        environment=environment(),
        neighbours_share=share(),
        times=times,
    )


def _clip(reference: JointCheckpoint, opened: list[_Opened]) -> tuple[str, list[_Contender]]:
    """A clip's embedding, and of each artefact the features alone: what the tower costs."""
    seconds = reference.joint.clip_samples / SAMPLE_RATE_HZ
    waveform = music(Cell(seconds, 1))
    clip, inputs = torch.from_numpy(waveform), {WAVEFORM: waveform}

    def eager() -> np.ndarray:
        with torch.inference_mode():
            return reference.mulan.audio_latents(clip).numpy()

    contenders = [_Contender(EAGER, "fp32", eager)]
    for artefact, session in opened:
        answer = _answers(session, inputs)
        contenders.append(_Contender(artefact.name, artefact.precision, answer(LATENTS)))
        alone = f"{artefact.name}, features alone"
        contenders.append(_Contender(alone, artefact.precision, answer("features"), False))
    return f"audio, a clip of {seconds:g} s", contenders


def _texts(
    reference: JointCheckpoint, opened: list[_Opened], batch: int, tokens: int
) -> tuple[str, list[_Contender]]:
    ids = np.random.default_rng(0).integers(
        _FIRST_WORD, reference.joint.vocabulary, (batch, tokens)
    )
    mask = np.ones_like(ids)
    inputs = {IDS.name: ids, MASK.name: mask}
    given = torch.from_numpy(ids), torch.from_numpy(mask)

    def eager() -> np.ndarray:
        with torch.inference_mode():
            return reference.mulan.text_latents(*given).numpy()

    contenders = [_Contender(EAGER, "fp32", eager)]
    for artefact, session in opened:
        answer = _answers(session, inputs)
        contenders.append(_Contender(artefact.name, artefact.precision, answer(LATENTS)))
    return f"text, {batch} of {tokens} tokens", contenders


def _answers(session: Session, inputs: dict[str, np.ndarray]) -> Callable[[str], Run]:
    return lambda output: lambda: session.run(inputs, [output])[output]


def _times(what: str, contenders: list[_Contender], rounds: int) -> list[TowerTime]:
    eager = contenders[0].run()
    cosines: dict[str, float | None] = {each.name: None for each in contenders}
    for each in contenders:
        answer = each.run()
        if each.is_embedding:
            found = measure(what, 0.0, LATENTS, answer, eager)
            if not found.passes(THRESHOLDS[each.precision]):
                raise ParityError(
                    f"{each.name} on {what}: not the reference's embedding (cosine "
                    f"{found.worst_frame_cosine:.6f}), so its speed is not reported."
                )
            cosines[each.name] = found.worst_frame_cosine
    runs = {each.name: each.run for each in contenders}
    samples = by_turns(runs, rounds, _BUDGET_SECONDS, warm_up=True)
    return [_time(what, name, samples, cosines[name]) for name in runs]


def _time(
    what: str, contender: str, samples: dict[str, list[float]], cosine: float | None
) -> TowerTime:
    seconds = spread(samples[contender])
    return TowerTime(
        input=what,
        contender=contender,
        samples_seconds=samples[contender],
        median_seconds=seconds.median,
        p10_seconds=seconds.p10,
        p90_seconds=seconds.p90,
        speedup=spread(ratios(samples[EAGER], samples[contender])).median,
        worst_cosine=cosine,
    )
