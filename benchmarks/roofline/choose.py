"""Which graph of a bundle is counted for a precision, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BundleError, UsageError
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.session import WAVEFORM
from .walk import Walk
from .work import BYTES, Group, count


@dataclass(frozen=True)
class Counted:
    """A graph, and the precision to count it in.

    Attributes:
        artefact: an ONNX artefact.
        precision: whose rates count.
        instead_of_fp32: the same where the graph is in float32 and only counted as if; else None.
    """

    artefact: Artefact
    precision: str
    instead_of_fp32: str | None = None

    @property
    def name(self) -> str:
        """The artefact's, and what it is counted as."""
        as_if = f" as {self.precision}" if self.instead_of_fp32 else ""
        return f"{self.artefact.name}{as_if}"


def onnx_graphs(bundle: Bundle) -> list[Artefact]:
    """The bundle's artefacts for audio that are ONNX graphs."""
    return [
        each
        for each in bundle.audio_artefacts
        if each.engine == "onnxruntime" and each.file.endswith(".onnx")
    ]


def choose(bundle: Bundle, name: str | None = None, precision: str | None = None) -> Counted:
    """The graph to count: the bundle's own in this precision, or else its float32 one as if.

    Args:
        bundle: whose ONNX artefacts there are to choose from, certified or not.
        name: artefact to count; by default the first that fits.
        precision: of ``BYTES``; by default the artefact's own.

    Raises:
        UsageError: an unknown precision, or one that the named artefact does not have.
        BundleError: no such artefact, or none that has a graph in float32.
    """
    if precision is not None and precision not in BYTES:
        raise UsageError(f"--precision {precision!r}: choose one of: {', '.join(BYTES)}.")
    known = onnx_graphs(bundle)
    graphs = known if name is None else [each for each in known if each.name == name]
    if not graphs:
        raise BundleError(
            f"{bundle.folder}: no ONNX artefact {name or ''!r} to count; it has: "
            f"{', '.join(each.name for each in known) or 'none'}."
        )
    if precision is None:
        return Counted(graphs[0], graphs[0].precision)
    # Bytes in the form for CPUs are no products of a GPU's tensor cores, unless asked for.
    own = [
        each
        for each in graphs
        if each.precision == precision
        and (name is not None or each.target == "any" or precision == "fp32")
    ]
    if own:
        return Counted(own[0], precision)
    plain = [each for each in graphs if each.precision == "fp32"]
    if plain:
        return Counted(plain[0], precision, precision)
    if name is not None:
        raise UsageError(
            f"--artefact {name} is in {graphs[0].precision}: leave out --precision, or --artefact."
        )
    raise BundleError(
        f"{bundle.folder}: no graph in {precision} or fp32 to count. Export the bundle again."
    )


def counted_groups(
    bundle: Bundle,
    counted: Counted,
    cells: Sequence[tuple[int, float]],
    outputs: Sequence[str] | None = None,
) -> list[list[Group]]:
    """Count a graph's work for each input.

    Args:
        bundle: that has it.
        counted: the graph.
        cells: the inputs: windows in a batch, and their seconds.
        outputs: names of those that are wanted; all by default.

    Raises:
        BundleError: the graph is missing, or has what cannot be counted.
    """
    walk = Walk(bundle.path(counted.artefact.file))
    rate = bundle.framing.sample_rate_hz
    found = []
    for batch, seconds in cells:
        given = {WAVEFORM: (batch, round(seconds * rate))}
        found.append(count(*walk.run(given, outputs), counted.instead_of_fp32))
    return found
