"""Music in the shapes that TensorRT engines take."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.bundle.manifest import Artefact, Bundle

if TYPE_CHECKING:
    from .excerpt import Excerpt

# Of a batch: the reference runs on the CPU.
_ROWS = 2


def takes(artefact: Artefact, excerpt: "Excerpt") -> bool:
    """Whether an artefact takes waveforms of this shape: all do but engines."""
    shapes = artefact.shapes
    return shapes is None or shapes.profile_of(excerpt.waveform.shape) >= 0


def in_engines_shapes(bundle: Bundle, music: "Sequence[Excerpt]") -> "Iterator[Excerpt]":
    """Yield the music again in the smallest, typical and largest shapes of the bundle's engines."""
    known = {each.waveform.shape for each in music}
    options = [each.shapes for each in bundle.artefacts if each.shapes is not None]
    for profile in (profile for each in options for profile in each.profiles):
        for batch, samples in profile.waveforms:
            rows = max(min(batch, _ROWS), profile.batch[0])
            if (rows, samples) not in known:
                known.add((rows, samples))
                pieces = [music[row % len(music)].waveform[0] for row in range(rows)]
                waveform = np.stack([np.resize(piece, samples) for piece in pieces])
                yield replace(music[0], name="all, in an engine's shape", waveform=waveform)
