"""Ask an artefact in every way that may run another of its graphs."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..bundle.parts import FRAMES
from ..engines.session import WAVEFORM, Arrays, Levels, Parts, Session
from ..inference.frames import OverlappingFrames


def answers(
    session: Session, name: str, waveform: np.ndarray, requests: Mapping[str, Sequence[str]]
) -> dict[str, Arrays]:
    """Run an artefact on a waveform in each way; returns the outputs by the way's name.

    Args:
        session: the artefact's.
        name: the waveform's.
        waveform: (batch, samples) float32.
        requests: the outputs to ask for besides all, by what the way is called.
    """
    inputs = {WAVEFORM: waveform}
    found = {name: session.run(inputs)}
    for way, outputs in requests.items():
        if session.outputs.keys() >= set(outputs):
            found[f"{name}, {way}"] = session.run(inputs, list(outputs))
    if session.parts is not None:
        found[f"{name}, in parts"] = _in_parts(session.parts, waveform)
        if session.levels is not None:
            (frames,) = session.parts.front_end.run(inputs).values()
            found[f"{name}, in two halves of the layers"] = _in_halves(session.levels, frames)
    return found


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


def _in_halves(levels: Levels, frames: np.ndarray) -> Arrays:
    """Run the layers up to a hidden state in the middle, and go on from there."""
    middle = levels.deepest // 2
    state = levels.run(frames, 0, middle)
    return {"features": levels.run(state, middle, levels.deepest)}
