"""Live streams through a bundle in this process."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ...common.closing import Closing
from ..bundle.tagging import Tagging
from ..engines.session import require_output
from ..load import open_bundle
from .engine import Hop, Streaming
from .stream import SlidingConfig


class LocalStreams(Closing):
    """The interface of ``StreamingClient``, for a bundle in this process.

    Args:
        folder: the bundle.
        artefact: its name; the bundle's first certified one when None.
        threads: the engine's; all physical cores when None.
        lengths: ``hop_seconds``, ``window_seconds`` and ``first_seconds``, as for
            ``SlidingConfig.every``.

    Raises:
        BundleError: it cannot be loaded, or has no tags. UsageError: impossible lengths.
    """

    def __init__(
        self, folder: Path, artefact: str | None, threads: int | None, lengths: dict[str, float]
    ) -> None:
        self._session = open_bundle(folder, artefact, threads)
        try:
            self.tagging = require_output(self._session, Tagging)
            self.sliding = SlidingConfig.every(self._session.framing, self.tagging, **lengths)
            self._streaming = Streaming(self._session, self.sliding)
        except BaseException:
            self._session.close()
            raise

    def stream(
        self, chunks: Iterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> Iterator[Hop]:
        """Yield the hops of one stream, from chunks (samples,) at ``rate_hz``."""
        live = self._streaming.open(rate_hz, name)
        for chunk in chunks:
            yield from self._streaming.push(live, chunk)
        yield from self._streaming.finish(live)

    def close(self) -> None:
        """Close the session."""
        self._session.close()
