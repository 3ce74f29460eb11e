"""Write ``track``, which takes encoded files and calls another model with their windows."""

from collections.abc import Mapping
from pathlib import Path

from ...errors import BundleError
from ...runtime.bundle.manifest import Artefact, Bundle
from ..contract.mulan import Tower, tower_in
from ..contract.options import ServingOptions
from ..contract.track import TRACK_MODEL, TrackConfig
from .layout import contract_of, track_layout
from .write import RepositoryReport, check_destination, write_model


def write_track(
    bundle: Bundle,
    output: Path,
    artefact: Artefact,
    model: str,
    name: str,
    options: ServingOptions,
) -> RepositoryReport:
    """Write the model, whole or not at all.

    Args:
        bundle: the artefact's.
        output: the repository.
        artefact: that the other model serves.
        model: name of that model.
        name: name of the one to write.
        options: how the other one is served.

    Raises:
        UsageError: the other model gives neither tags nor an embedding, or the destination is
            taken.
    """
    check_destination(output, name)
    contract = contract_of(bundle, artefact, options.outputs)
    config = TrackConfig(name, Tower(model, options.max_batch_size, contract), options.limits)
    return write_model(bundle, track_layout(artefact), config, output)


def track_config(
    bundle: Bundle, artefact: Artefact, name: str, parameters: Mapping[str, str]
) -> TrackConfig:
    """The configuration that the bundle gives for the model in these parameters."""
    try:
        found = tower_in(parameters, TRACK_MODEL)
    except (KeyError, ValueError) as error:
        raise BundleError(
            f"the model that it calls cannot be read ({error}); write it again with: "
            "muqrt repository --track"
        ) from error
    outputs = tuple(spec.name for spec in found.contract.outputs)
    contract = contract_of(bundle, artefact, outputs)
    return TrackConfig(name, Tower(found.model, found.max_batch_size, contract))
