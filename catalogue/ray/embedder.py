"""A bundle's model for ``Dataset.map_batches`` of Ray Data."""

from collections.abc import Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...errors import AudioError, UsageError
from ...runtime.audio.damage import MOST_LOST_SHARE
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ...runtime.inference.windows import WindowLength
from ...runtime.load import load
from ..columns import COLUMNS
from ..loading import FailedTrack, LoadedTrack, load_track, loaded_ahead
from ..planning import bundle_of
from ..worker import LOADING_THREADS

_FIXED_WIDTH = ("embedding", "tags", "latents")


class Embedder:
    """Adds columns with a model's results to batches of tracks; a callable class, one an actor.

    Tracks are fetched and decoded in threads while the model computes those before them. Give Ray
    ``concurrency``, and ``num_cpus`` or ``num_gpus``.

    Args:
        bundle: its folder on every node, or hf://user/name; muq-mini's by default.
        outputs: some of embedding, tags and latents.
        column: the column with the tracks: paths, or addresses as s3://...
        window: for embeddings: as ``Model.embed`` takes it.
        artefact, threads, device: as for ``muqrt.load``.
        loading_threads: how many fetch and decode.

    Raises:
        UsageError: another output. BundleError: the bundle lacks one.
    """

    def __init__(
        self,
        bundle: str | PathLike[str] = SHIPPED_BUNDLE,
        outputs: Sequence[str] = ("embedding",),
        column: str = "key",
        window: WindowLength | None = None,
        artefact: str | None = None,
        threads: int | None = 1,
        loading_threads: int = LOADING_THREADS,
        device: str | None = None,
    ) -> None:
        if unknown := [each for each in outputs if each not in _FIXED_WIDTH]:
            raise UsageError(f"outputs {unknown}: give some of {', '.join(_FIXED_WIDTH)}.")
        described = bundle_of(bundle)
        chosen = described.artefact(artefact)
        self._widths = {
            name: int(COLUMNS[name].facts(described, chosen, window)["width"]) for name in outputs
        }
        self._column, self._window, self._threads = column, window, loading_threads
        self._model = load(described.folder, artefact, threads, device=device)
        self._rate_hz = self._model.framing.sample_rate_hz

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute a batch.

        Args:
            batch: columns, each (rows,); ``column`` has text.

        Returns:
            The same with a column for each output, float32 (rows, width), and ``error``: why a
            track could not be used, with NaN for its results; empty for the others.
        """
        keys = [str(each) for each in batch[self._column]]
        found = {
            name: np.full((len(keys), width), np.nan, np.float32)
            for name, width in self._widths.items()
        }
        errors = [""] * len(keys)
        with TemporaryDirectory(prefix="muqrt-") as scratch:

            def load_one(row: int) -> LoadedTrack | FailedTrack:
                return load_track(keys[row], self._rate_hz, MOST_LOST_SHARE, Path(scratch))

            with closing(loaded_ahead(range(len(keys)), load_one, self._threads)) as ahead:
                for row, track in ahead:
                    if isinstance(track, FailedTrack):
                        errors[row] = track.reason
                        continue
                    try:
                        for name, values in found.items():
                            values[row] = COLUMNS[name].compute(
                                self._model, track.audio, track.rate_hz, self._window
                            )
                    except AudioError as error:
                        errors[row] = str(error)
        return {**batch, **found, "error": np.array(errors)}
