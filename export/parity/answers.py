"""Store the reference's answers in a bundle, so that it can prove itself where it lands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...common.files import sha256
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import StoredAnswers
from ...runtime.bundle.record import TensorSpec
from ...runtime.parity.stored import WAVEFORM_FULL_SCALE, save_arrays
from ..outputs import registry
from ..outputs.output import Reference
from ..outputs.registry import output_named
from ..sources.checkpoint import JointCheckpoint
from ..sources.sources import Sources
from ..sources.texts import TEXTS
from .excerpt import Excerpt
from .reference_name import reference_name

ANSWERS_FILE = "parity-answers.npz"


class AnswerBook:
    """Collects the reference's answers while an artefact is compared with them.

    Args:
        outputs: the artefact's.
        level: the layer that its features are taken from.
        window_samples: how audio is cut for it; longer excerpts are left out.
    """

    def __init__(self, outputs: Sequence[TensorSpec], level: int, window_samples: int) -> None:
        self._outputs = [output_named(spec.name) for spec in outputs]
        self._level, self._longest = level, window_samples
        self._audio: list[str] = []
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, excerpt: Excerpt, reference: Reference) -> None:
        """Store the answers to an excerpt, unless it is longer than a window."""
        if excerpt.waveform.shape[1] > self._longest:
            return
        place = len(self._audio)
        self._audio.append(excerpt.name)
        # Parity's music is dithered to 16 bits: nothing is lost.
        samples = np.rint(excerpt.waveform * WAVEFORM_FULL_SCALE)
        self._arrays[f"{place}/waveform"] = samples.clip(-(2**15), 2**15 - 1).astype(np.int16)
        for output in self._outputs:
            for what, array in output.stored(reference, self._level).items():
                self._arrays[f"{place}/{output.name}/{what}"] = array

    def save(self, folder: Path, checkpoint: Checkpoint, sources: Sources) -> StoredAnswers | None:
        """Write the file; returns its record, or None where nothing was added."""
        if not self._audio:
            return None
        names = [output.name for output in self._outputs]
        arrays, texts = dict(self._arrays), []
        for output in self._outputs:
            arrays.update(output.stored_source(sources))
        if isinstance(checkpoint, JointCheckpoint):
            texts = list(TEXTS)
            arrays[f"texts/{LATENTS}"] = checkpoint.proving_texts
        save_arrays(folder / ANSWERS_FILE, arrays)
        return StoredAnswers(
            file=ANSWERS_FILE,
            sha256=sha256(folder / ANSWERS_FILE),
            reference=reference_name(checkpoint),
            level=self._level,
            audio=self._audio,
            requests=registry.requests(names),
            texts=texts,
        )
