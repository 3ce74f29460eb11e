"""How far from the model a live stream would be that keeps the encoder's states of past steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UsageError
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.conformer import ConformerEncoder
from ...reference.head import Head, pooled
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import THRESHOLDS
from ...runtime.streaming.stream import HOP_SECONDS
from ..measure.report import Report, Section
from .encoder import KeptStates

# Steps before a hop's own that are computed again, now that more has followed them.
REFRESHED_STEPS = (0, 12, 50, 125)
# Of a window, at either end: the steps between are far from the padding.
_EDGE = 0.2
_COLUMNS = (
    "steps computed",
    "largest change of a tag",
    "median of each hop's",
    "worst cosine",
    "median of each hop's worst",
    "mean cosine",
)
_GATE = THRESHOLDS["int8"]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """One way of keeping states against the exact windows.

    Attributes:
        refreshed_steps: steps before a hop's own that were computed again.
        tag_changes: each hop's largest change of a tag.
        worst_cosines: each hop's smallest cosine of a step's features.
        mean_cosine: of all steps of all hops.
    """

    refreshed_steps: int
    tag_changes: list[float]
    worst_cosines: list[float]
    mean_cosine: float


@dataclass(frozen=True, kw_only=True)
class KeptStatesReport(Report):
    """One run.

    Attributes:
        checkpoint: its name.
        audio: the files' names.
        hops: how many were compared, the full windows but the first of each file.
        shifted: for each file's first full window the largest change of a tag when the encoder's
            positions begin a hop later, and nothing else is different.
        neighbours: for each file the smallest cosine between a step's features in two exact windows
            a hop apart, of steps away from the edges of both.
        distances: for each number of refreshed steps.
    """

    checkpoint: str
    audio: list[str]
    hops: int
    shifted: list[float]
    neighbours: list[float]
    distances: list[Distance]

    def results(self) -> list[Section]:
        """A row for each number of refreshed steps, and what the exact model does by itself."""
        rows = [
            [
                f"a hop's and {each.refreshed_steps} before",
                f"{max(each.tag_changes):.3f}",
                f"{np.median(each.tag_changes):.3f}",
                f"{min(each.worst_cosines):.4f}",
                f"{np.median(each.worst_cosines):.4f}",
                f"{each.mean_cosine:.4f}",
            ]
            for each in self.distances
        ]
        note = (
            f"Hops of {HOP_SECONDS:g} s: {self.hops}; files: {len(self.audio)}. The gate for 8 "
            f"bits is {_GATE.largest_tag_change} and {_GATE.worst_frame_cosine}."
        )
        return [
            Section(f"States of past steps kept, {self.checkpoint}", _COLUMNS, rows, note),
            Section(
                "The exact model itself",
                ("", "best file", "median", "worst file"),
                [
                    ["positions a hop later: largest change of a tag", *_ordered(self.shifted)],
                    [
                        "a step in two windows a hop apart: worst cosine",
                        *_ordered(self.neighbours)[::-1],
                    ],
                ],
                "The same audio, by the model alone. The second row leaves out a fifth of a window "
                "at either edge.",
            ),
        ]


def _ordered(figures: Sequence[float]) -> list[str]:
    return [f"{each:.4f}" for each in (min(figures), float(np.median(figures)), max(figures))]


@torch.inference_mode()
def measure_kept_states(
    model: MuQ,
    head: Head,
    waveforms: Sequence[tuple[str, np.ndarray]],
    checkpoint: str,
    on_step: Callable[[str], None] = lambda what: None,
) -> KeptStatesReport:
    """Measure the distances.

    Args:
        model: the reference.
        head: a tagging head for it.
        waveforms: of each file, its name and (samples,) float32 at the model's rate.
        checkpoint: what the report calls the model.
        on_step: called with each file's name when it is done.

    Raises:
        UsageError: audio that is shorter than a window of the head's and a hop, or a head whose
            windows are shorter than two hops.
    """
    window_seconds = head.config.window_seconds
    if window_seconds < 2 * HOP_SECONDS:
        raise UsageError(
            f"the head's windows last {window_seconds:g} s: take a head with windows of "
            f"{2 * HOP_SECONDS:g} s or more."
        )
    files = []
    for name, waveform in waveforms:
        files.append(_of_file(model, head, waveform))
        if not files[-1].neighbours:
            raise UsageError(
                f"{name}: give audio longer than {window_seconds + HOP_SECONDS:g} s, a window and "
                "a hop."
            )
        on_step(name)
    hops = {
        refreshed: [hop for each in files for hop in each.hops[refreshed]]
        for refreshed in REFRESHED_STEPS
    }
    return KeptStatesReport(
        checkpoint=checkpoint,
        audio=[name for name, _ in waveforms],
        hops=len(hops[REFRESHED_STEPS[0]]),
        shifted=[each.shifted for each in files],
        neighbours=[min(each.neighbours) for each in files],
        distances=[
            Distance(
                refreshed_steps=refreshed,
                tag_changes=[change for change, _ in found],
                worst_cosines=[float(cosines.min()) for _, cosines in found],
                mean_cosine=float(torch.cat([cosines for _, cosines in found]).mean()),
            )
            for refreshed, found in hops.items()
        ],
    )


@dataclass
class _File:
    """What one file gives.

    Attributes:
        hops: for each number of refreshed steps, each hop's largest change of a tag and the cosines
            of its steps.
        shifted: as in the report.
        neighbours: each hop's smallest cosine with the exact window before.
    """

    hops: dict[int, list[tuple[float, Tensor]]]
    shifted: float
    neighbours: list[float]


def _of_file(model: MuQ, head: Head, waveform: np.ndarray) -> _File:
    encoder = model.model.conformer
    streams = {each: KeptStates(encoder) for each in REFRESHED_STEPS}
    found = _File({each: [] for each in REFRESHED_STEPS}, 0.0, [])
    before: tuple[int, Tensor] | None = None
    for start, frames in _windows(model, head, waveform):
        exact = [each[0] for each in encoder(frames)]
        tags = _tags(head, exact)
        for refreshed, stream in streams.items():
            states = stream.hop(start, frames[0], None if before is None else refreshed)
            if before is not None:
                change = float((_tags(head, states) - tags).abs().max())
                cosines = F.cosine_similarity(states[-1], exact[-1], dim=-1)
                found.hops[refreshed].append((change, cosines))
        if before is None:
            later = round(HOP_SECONDS * model.config.label_rate)
            shifted = _tags(head, _states_from(encoder, frames, later))
            found.shifted = float((shifted - tags).abs().max())
        else:
            earlier, features = before
            moved, edge = start - earlier, round(_EDGE * len(features))
            alike = F.cosine_similarity(features[moved:], exact[-1][:-moved], dim=-1)
            found.neighbours.append(float(alike[edge:-edge].min()))
        before = start, exact[-1]
    return found


def _windows(model: MuQ, head: Head, waveform: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """The first step of each full window, and its frames (1, steps, width)."""
    step, rate_hz = model.config.step_samples, SAMPLE_RATE_HZ
    steps = round(head.config.window_seconds * rate_hz / step)
    samples = torch.from_numpy(waveform)[None]
    for hop in range(1 + int(len(waveform) / (HOP_SECONDS * rate_hz))):
        end = round(hop * HOP_SECONDS * rate_hz) // step
        if (start := end - steps) >= 0:
            log_mel = model.model.preprocessor_melspec_2048(samples[:, start * step : end * step])
            yield start, model.model.conv(log_mel)


def _tags(head: Head, states: Sequence[Tensor]) -> Tensor:
    statistics = [pooled(states[level]) for level in head.config.levels]
    return head.probabilities(torch.stack(statistics))


def _states_from(encoder: ConformerEncoder, frames: Tensor, position: int) -> list[Tensor]:
    """The hidden states (steps, width) of a window whose first step has this position."""
    steps = frames.shape[1]
    cosines, sines = encoder.embed_positions(position + steps)
    states = [frames]
    for layer in encoder.layers:
        states.append(layer(states[-1], (cosines[position:], sines[position:]), None))
    return [each[0] for each in (*states[:-1], encoder.layer_norm(states[-1]))]
