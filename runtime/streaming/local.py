"""Live streams on a bundle in this process."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...common.closing import Closing

if TYPE_CHECKING:
    from .engine import Hop


class LocalStreams(Closing):
    """A bundle's artefact as ``StreamingClient`` is a server's model.

    Args:
        folder: the bundle.
        artefact, threads: ``muqrt.load``'s.
        lengths: ``SlidingConfig.every``'s.

    Raises:
        BundleError: it cannot be loaded, or has no tags. UsageError: lengths without sense.
    """

    def __init__(
        self, folder: Path, artefact: str | None, threads: int | None, lengths: dict[str, float]
    ) -> None:
        from ..bundle.tagging import Tagging
        from ..engines.session import require
        from ..load import open_bundle
        from .engine import Streaming
        from .stream import SlidingConfig

        self._session = open_bundle(folder, artefact, threads)
        try:
            self.tagging = require(self._session, Tagging)
            self.sliding = SlidingConfig.every(self._session.framing, self.tagging, **lengths)
            self._streaming = Streaming(self._session, self.sliding)
        except BaseException:
            self._session.close()
            raise

    def stream(
        self, chunks: Iterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> "Iterator[Hop]":
        """``StreamingClient.stream``."""
        live = self._streaming.open(rate_hz, name)
        for chunk in chunks:
            yield from self._streaming.push(live, chunk)
        yield from self._streaming.finish(live)

    def close(self) -> None:
        """Close the session."""
        self._session.close()
