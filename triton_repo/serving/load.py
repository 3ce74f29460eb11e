"""Load the live streams that a version's folder serves."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import BundleError
from ...runtime.bundle.manifest import load_bundle
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import Session
from ...runtime.streaming.engine import Streaming
from ...runtime.streaming.stream import SlidingConfig
from ..contract.stream import StreamContract, options_of
from .live_streams import LiveStreams


def load_streams(folder: Path, parameters: Mapping[str, str]) -> tuple[LiveStreams, int]:
    """Load a version's folder, and run its engine once so that no client waits for that.

    Args:
        folder: ``<model_repository>/<version>``.
        parameters: the parameters in the model's configuration.

    Returns:
        The streams, and the number of tags in their answers.
    """
    try:
        contract, options = StreamContract.from_parameters(parameters), options_of(parameters)
    except (KeyError, ValueError) as error:
        raise BundleError(
            f"{folder}: its config.pbtxt was not written by this version of muqrt ({error}). "
            "Write it again with: muqrt repository --stream"
        ) from error
    bundle = load_bundle(folder)
    # Certificates were checked when the repository was written.
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


def _warm_up(session: Session, sliding: SlidingConfig) -> None:
    """Run a whole window of silence, and the window after it."""
    streaming = Streaming(session, replace(sliding, first_steps=sliding.window_steps))
    stream = streaming.open()
    silence = np.zeros(min(sliding.hop_samples, sliding.framing.sample_rate_hz), np.float32)
    samples = sliding.window_steps * sliding.framing.step_samples + 2 * sliding.hop_samples
    for _ in range(0, samples, len(silence)):
        streaming.push(stream, silence)
