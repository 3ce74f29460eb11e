"""Search for the products that have to stay float32 so that 16 bits are within the gate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.manifest import Bundle
from ....runtime.bundle.precision.mixed_precision import KeptNode
from ...parity.proof import Proof
from ...sources.head import TagHead
from ..int8.equalization import with_folded_norms
from ..int8.search import goal_of, largest_within
from ..int8.sensitivity import Sensitivity, excerpt_of, sensitivities
from ..int8.sites import FRONT_END, Site, front_end_sites, sites
from .formats import Half
from .typed import PRODUCTS, nodes_of

_ATTEMPTS = 8
_WEIGHT = ".weight"  # follows a site's name in the name of its weights in the graph

# Writes a graph with these nodes in float32 and every rounding emulated, as a bundle in a folder.
Emulate = Callable[[list[KeptNode], Path], Bundle]


@dataclass(frozen=True, eq=False)
class HalfSearch:
    """Leaves out of 16 bits what costs most for its work, by the features and by the tags.

    Attributes:
        precision: whose gate.
        half: its format.
        proof: what emulations are compared with.
        level: of the features.
    """

    precision: Precision
    half: Half
    proof: Proof
    level: int

    def run(
        self,
        kept: Sequence[KeptNode],
        float32: Callable[[], onnx.ModelProto],
        emulate: Emulate,
        failed: Bundle,
        folder: Path,
    ) -> tuple[list[KeptNode], Bundle]:
        """Emulate graphs with fewer and fewer products in 16 bits until one is within the gate.

        Args:
            kept: the nodes that stay float32 anyway.
            float32: makes the graph.
            emulate: makes an emulation.
            failed: the one with no further nodes, measured.
            folder: where emulations are written.

        Returns:
            The nodes that stay float32, and the emulation.

        Raises:
            ParityError: none is within the gate after several attempts.
        """
        measured, tried = self._measured(), list(kept)

        def attempt(selected: list[str], place: Path) -> Bundle:
            outside = [each for each in measured if each.site.name not in selected]
            tried[:] = [*kept, *_kept(float32(), outside, names_of(kept))]
            return emulate(tried, place)

        found = largest_within(
            measured,
            goal_of(None, self.precision),
            self.precision,
            _ATTEMPTS,
            attempt,
            folder,
            self.proof,
            failed,
            "emulation",
        )
        return tried, found

    def _measured(self) -> list[Sensitivity]:
        proof = self.proof
        model = with_folded_norms(proof.checkpoint.model)
        encoder = [each for each in sites(model, self.level) if each.name != FRONT_END]
        return sensitivities(
            model,
            [*front_end_sites(model), *encoder],
            lambda site: _rounded(site, self.half),
            excerpt_of(proof.music),
            self.level,
            proof.on_step,
            proof.head.expected if isinstance(proof.head, TagHead) else None,
        )


def names_of(kept: Sequence[KeptNode]) -> set[str]:
    """The nodes' names."""
    return {each.name for each in kept}


def _kept(
    model: onnx.ModelProto, outside: Sequence[Sensitivity], known: set[str]
) -> Iterator[KeptNode]:
    """The products of these sites in a float32 graph, but for those that are known."""
    costs = {f"{each.site.name}{_WEIGHT}": each.relative_l2 for each in outside}
    for node in nodes_of(model, TensorProto.FLOAT):
        if node.op_type in PRODUCTS and node.input[1] in costs and node.name not in known:
            figure = costs[node.input[1]]
            yield KeptNode(name=node.name, operator=node.op_type, reason="error", figure=figure)


@contextmanager
def _rounded(site: Site, half: Half) -> Iterator[None]:
    """Round the site's weights, inputs and outputs to 16 bits inside the block."""
    element = getattr(torch, half.name)

    def to_half(x: Tensor) -> Tensor:
        return x.to(element).to(x.dtype)

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return to_half(inputs[0]), *inputs[1:]

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return to_half(output)

    with ExitStack() as stack:
        for product in site.products:
            stack.callback(setattr, product.weight, "data", product.weight.data)
            product.weight.data = to_half(product.weight.data)
            stack.callback(product.register_forward_pre_hook(before).remove)
            stack.callback(product.register_forward_hook(after).remove)
        yield
