"""Bundle -> the model of a repository that tags live streams, and back to streams in the server."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import BundleError
from ..runtime.bundle import Bundle, load_bundle
from ..runtime.open_session import open_session
from ..runtime.session import Session
from ..runtime.stream import Sliding
from ..runtime.streaming import Streaming
from .layout import LIVE_STREAMS, scripted
from .live_streams import LiveStreams
from .repository import VERSION, RepositoryReport, check_destination, report_of, write_model
from .stream_config import StreamConfig, StreamContract, StreamOptions, options_of

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

    Its version is a bundle of that one artefact, with the ``model.py`` that runs it: files are hard
    links to the bundle's where the file system allows it, copies elsewhere.

    Args:
        artefact_name: the artefact to serve; the bundle's first certified one when left out.
        allow_uncertified: serve an artefact that has no passing certificate.
        options: limits, hop and window.

    Raises:
        BundleError: no such artefact, not certified, without tags, or changed since its export.
        UsageError: the model's name is not one, something else is where it should go, or the hop
            does not fit the window.
    """
    artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified)
    if bundle.tagging is None:
        raise BundleError(
            f"{bundle.folder}: the bundle has no tags, which is what live streams are answered "
            "with. Export it with a head: muqrt export --head HEAD"
        )
    check_destination(output, model_name)
    bundle.verify(artefact)
    contract = StreamContract(
        tagging=bundle.tagging,
        sliding=Sliding.every(
            bundle.framing, bundle.tagging, options.hop_seconds, options.window_seconds
        ),
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        source=f"{bundle.source.checkpoint} sha256:{bundle.source.sha256}",
    )
    config = StreamConfig(model_name, contract, options).to_text()
    layout = scripted(artefact, LIVE_STREAMS)
    write_model(bundle, layout, config, output / model_name, VERSION)
    return report_of(output, model_name, artefact)


def load_streams(folder: Path, parameters: Mapping[str, str]) -> tuple[LiveStreams, int]:
    """The streams of a version's folder, and how many tags they are answered with.

    The engine has run once when they are returned, so that no client waits for its first run.

    Args:
        parameters: the configuration's.

    Raises:
        BundleError: the folder or the parameters are not what ``write_stream_repository`` wrote.
        SessionError: the engine refused the artefact, or failed.
        MissingDependencyError: the engine is not installed.
    """
    try:
        contract, options = StreamContract.from_parameters(parameters), options_of(parameters)
    except (KeyError, ValueError) as error:
        raise BundleError(
            f"{folder}: its config.pbtxt was not written by this version of muqrt ({error}). "
            "Write it again with: muqrt repository --stream"
        ) from error
    bundle = load_bundle(folder)
    # Whether one without a certificate may be served was asked when it was written.
    artefact = bundle.artefact(allow_uncertified=True)
    if artefact.digest != contract.artefact_sha256:
        raise BundleError(
            f"{folder}: its bundle is not the one that config.pbtxt was written for. Write the "
            "model again with: muqrt repository --stream"
        )
    session = open_session(bundle, artefact, options.threads)
    _warm_up(session, contract.sliding)
    streaming = Streaming(session, contract.sliding, runs=options.instances)
    live = LiveStreams(streaming, options.max_streams, options.idle_seconds)
    return live, len(contract.tagging.vocabulary)


def _warm_up(session: Session, sliding: Sliding) -> None:
    """Run a whole window of silence, and the one after it."""
    streaming = Streaming(session, replace(sliding, first_steps=sliding.window_steps))
    stream = streaming.open()
    silence = np.zeros(min(sliding.hop_samples, sliding.framing.sample_rate_hz), np.float32)
    samples = sliding.window_steps * sliding.framing.step_samples + 2 * sliding.hop_samples
    for _ in range(0, samples, len(silence)):
        streaming.push(stream, silence)
