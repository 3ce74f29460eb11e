"""The matrix products of a MuQ that are worth quantizing, by their names in the graph."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ....reference.conformer import ConformerLayer
from ....reference.front_end import Res2dModule
from ....reference.muq import MuQ

FRONT_END = "front_end"
LINEAR = f"{FRONT_END}/linear"
# The activation that is the log-mel.
LOG_MEL = f"{FRONT_END}/block_0/conv1"

Product = nn.Linear | nn.Conv1d | nn.Conv2d


@dataclass(frozen=True, eq=False)
class Site:
    """Matrix products that are quantized together or not at all.

    Attributes:
        name: in the graph, scopes included.
        products: the modules with the weights.
        layer: of the conformer; -1 in the front end.
        macs_per_step: multiplications for one step of features.
        after_activation: whether the input comes from an activation function.
    """

    name: str
    products: tuple[Product, ...]
    layer: int
    macs_per_step: int
    after_activation: bool = False


def sites(model: MuQ, level: int) -> list[Site]:
    """All sites of the model up to a level, in the order in which they are computed.

    The front end is one: on bytes its convolutions hand bytes to each other.
    """
    front_end = front_end_sites(model)
    products = tuple(product for each in front_end for product in each.products)
    macs = sum(each.macs_per_step for each in front_end)
    found = [Site(FRONT_END, products, -1, macs)]
    layers = cast(list[ConformerLayer], list(model.model.conformer.layers)[:level])
    for index, layer in enumerate(layers):
        found += _of_layer(index, layer)
    return found


def front_end_sites(model: MuQ) -> list[Site]:
    """The front end's products, each a site of its own."""
    first, second = blocks(model)
    bands, frames = model.config.n_mels // 4, second.conv1.stride[1]
    # The first block has twice as many bands as the second, and its frames are not halved yet.
    positions = {first: 2 * bands * frames, second: bands}
    found = []
    for index, (block, count) in enumerate(positions.items()):
        for name in ("conv1", "conv2", "conv3"):
            product = cast(nn.Conv2d, getattr(block, name))
            macs = count * product.weight.numel()
            found.append(Site(f"{FRONT_END}/block_{index}/{name}", (product,), -1, macs))
    linear = model.model.conv.linear
    return [*found, Site(LINEAR, (linear,), -1, linear.weight.numel())]


def blocks(model: MuQ) -> tuple[Res2dModule, Res2dModule]:
    """The front end's two residual blocks."""
    first, second = cast(list[Res2dModule], model.model.conv.conv)
    return first, second


def in_front_end(name: str) -> bool:
    """Whether an activation is the front end's."""
    return name.startswith(f"{FRONT_END}/")


def _of_layer(index: int, layer: ConformerLayer) -> Iterator[Site]:
    attention, convolution = layer.self_attn, layer.conv_module
    products: Mapping[str, tuple[Product, ...]] = {
        "ffn1/intermediate_dense": (layer.ffn1.intermediate_dense,),
        "ffn1/output_dense": (layer.ffn1.output_dense,),
        "self_attn/linear_q_k": (attention.linear_q, attention.linear_k),
        "self_attn/linear_v": (attention.linear_v,),
        "self_attn/linear_out": (attention.linear_out,),
        "conv_module/pointwise_conv1": (convolution.pointwise_conv1,),
        "conv_module/pointwise_conv2": (convolution.pointwise_conv2,),
        "ffn2/intermediate_dense": (layer.ffn2.intermediate_dense,),
        "ffn2/output_dense": (layer.ffn2.output_dense,),
    }
    for name, modules in products.items():
        macs = sum(each.weight.numel() for each in modules)
        after = name.endswith(("output_dense", "pointwise_conv2"))
        yield Site(f"conformer/layer_{index}/{name}", modules, index, macs, after)


@dataclass(frozen=True, eq=False)
class Watched:
    """A tensor that int8 arithmetic reads or writes.

    Attributes:
        modules: whose first input or output it is, the same for all.
        side: which of the two.
        channel_axis: the axis of its channels.
    """

    modules: tuple[nn.Module, ...]
    side: Literal["input", "output"]
    channel_axis: int

    def hook(
        self, module: nn.Module, on_tensor: Callable[[Tensor], Tensor | None]
    ) -> RemovableHandle:
        """Call ``on_tensor`` with the tensor, channels last, whenever one of the modules runs; what
        it returns takes the tensor's place."""

        def seen(x: Tensor) -> Tensor | None:
            other = on_tensor(x.movedim(self.channel_axis, -1))
            return None if other is None else other.movedim(-1, self.channel_axis)

        def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            other = seen(inputs[0])
            return None if other is None else (other, *inputs[1:])

        if self.side == "input":
            return module.register_forward_pre_hook(before)
        return module.register_forward_hook(lambda module, inputs, output: seen(output))


def activations(model: MuQ, level: int) -> dict[str, Watched]:
    """Every quantized activation by its name: a site's, for its input, and the front end's.

    ``block_I/inner`` and ``block_I/outer`` are what a residual block adds up.
    """
    found = {
        site.name: Watched(site.products, "input", _input_axis(site.products[0]))
        for site in sites(model, level)
        if site.name != FRONT_END
    }
    found[LINEAR] = Watched((model.model.conv.linear,), "input", -1)
    for index, block in enumerate(blocks(model)):
        name = f"{FRONT_END}/block_{index}"
        found[f"{name}/conv1"] = Watched((block.conv1, block.conv3), "input", 1)
        found[f"{name}/conv2"] = Watched((block.conv2,), "input", 1)
        found[f"{name}/inner"] = Watched((block.bn2,), "output", 1)
        found[f"{name}/outer"] = Watched((block.bn3,), "output", 1)
    return found


def _input_axis(product: Product) -> int:
    return -1 if isinstance(product, nn.Linear) else 1
