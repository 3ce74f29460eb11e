"""Write the model that tags live streams."""

from pathlib import Path

from ...errors import BundleError
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.streaming.stream import SlidingConfig
from ..contract.stream import StreamConfig, StreamContract, StreamOptions
from .layout import LIVE_STREAMS, scripted, source_of
from .write import RepositoryReport, check_destination, write_model

_DEFAULTS = StreamOptions()


def write_stream_repository(
    bundle: Bundle,
    output: Path,
    artefact_name: str | None = None,
    *,
    allow_uncertified: bool = False,
    model_name: str = "muq_stream",
    options: StreamOptions = _DEFAULTS,
) -> RepositoryReport:
    """Write ``<output>/<model_name>``, whole or not at all; other models there are left alone.

    Its version is a bundle of that one artefact, with the ``model.py`` that runs it. Files are hard
    links to the bundle's if the file system allows it, otherwise copies.

    Args:
        artefact_name: the artefact to serve; the first certified one when None.
        allow_uncertified: serve an artefact that has no passing certificate.
        model_name: name of the model on the server.
        options: limits, hop and window.

    Raises:
        BundleError: no such artefact, not certified, without tags, or changed since its export.
        UsageError: the model's name is not allowed, the destination is taken, or the hop does not
            fit the window.
    """
    artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified)
    lengths = options.hop_seconds, options.window_seconds
    sliding = SlidingConfig.every(bundle.framing, bundle.tagging, *lengths)
    config = StreamConfig(model_name, stream_contract(bundle, artefact, sliding), options)
    check_destination(output, model_name)
    bundle.verify(artefact)
    return write_model(bundle, scripted(artefact, LIVE_STREAMS), config, output)


def stream_contract(bundle: Bundle, artefact: Artefact, sliding: SlidingConfig) -> StreamContract:
    """What a client must know about the live model of an artefact."""
    if bundle.tagging is None:
        raise BundleError(
            f"{bundle.folder}: the bundle has no tags, which live streams need. Export it with a "
            "head: muqrt export --head HEAD"
        )
    facts = artefact.precision, artefact.digest, source_of(bundle)
    return StreamContract(bundle.tagging, sliding, *facts)
