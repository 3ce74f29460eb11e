"""The registry of all outputs."""

from collections.abc import Sequence

from ...errors import UsageError
from ...reference.muq import MuQ
from ...runtime.bundle.record import TensorSpec
from ..sources.sources import Sources
from .latents import Latents
from .mix import MixedLevels
from .output import Output, SourcedOutput
from .plain import Embedding, Features, HiddenStates
from .scores import Scores
from .tags import Tags
from .tokens import Tokens

OUTPUTS: tuple[Output, ...] = (
    Features(),
    Embedding(),
    HiddenStates(),
    Tags(),
    Tokens(),
    Latents(),
    MixedLevels(),
    Scores(),
)


def output_named(name: str) -> Output:
    """Find an output by its name in a graph or a certificate."""
    return next(output for output in OUTPUTS if output.name == name)


def requests(names: Sequence[str]) -> dict[str, list[str]]:
    """Further ways to ask an artefact with these outputs: what to ask for, by the way's name."""
    found: dict[str, list[str]] = {}
    for output in OUTPUTS:
        found.update(output.requests(names))
    return found


def output_specs(
    model: MuQ, names: Sequence[str], level: int, sources: Sources
) -> list[TensorSpec]:
    """Return names, dtypes and shapes of the outputs asked for, each once.

    Raises:
        UsageError: none is asked for, or one that a model with these sources does not have.
    """
    found = {output.name: output.spec(model, level, sources) for output in OUTPUTS}
    specs = {name: spec for name, spec in found.items() if spec is not None}
    unknown = [name for name in names if name not in specs]
    if unknown or not names:
        with_source = [
            f"; {output.name} with --{output.source_name.lower()}"
            for output in OUTPUTS
            if isinstance(output, SourcedOutput) and output.hashed and output.name not in specs
        ]
        raise UsageError(
            f"outputs {unknown}: choose among {', '.join(specs)}{''.join(with_source)}."
        )
    return [specs[name] for name in dict.fromkeys(names)]
