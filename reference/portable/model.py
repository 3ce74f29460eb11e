"""MuQ as converters for phones take it: no STFT, every constant a buffer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..head import Head, pooled
from ..muq import MuQ
from .log_mel import MatrixLogMel, MelMatrices

OUTPUTS = ("features", "embedding", "tags")


class PortableMuQ(nn.Module):
    """A MuQ up to a level, and what is read off its hidden states.

    Args:
        muq: whose modules these are.
        matrices: of the log-mel's transform.
        level: the hidden state that ``features`` are.
        outputs: names, among ``OUTPUTS``.
        head: computes the tags; from levels no deeper.
    """

    frequencies: Tensor

    def __init__(
        self,
        muq: MuQ,
        matrices: MelMatrices,
        level: int,
        outputs: Sequence[str],
        head: Head | None = None,
    ) -> None:
        super().__init__()
        model = muq.model
        self.outputs = list(outputs)
        self.log_mel = MatrixLogMel(model.preprocessor_melspec_2048, matrices)
        self.front_end = model.conv
        self.register_buffer("frequencies", model.conformer.embed_positions.inv_freq)
        self.layers = model.conformer.layers[:level]
        is_deepest = level == muq.config.encoder_depth
        self.norm = model.conformer.layer_norm if is_deepest else nn.Identity()
        self.head = head

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        """(batch, samples) float32 at 24 kHz, more than 1024 samples -> the outputs in order."""
        x = self.front_end(self.log_mel(waveform))
        time = torch.arange(x.shape[1], dtype=torch.float32)
        angles = (time[:, None] * self.frequencies).repeat(1, 2)[:, None]
        positions = angles.cos(), angles.sin()
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], positions, None))
        states[-1] = self.norm(states[-1])
        return tuple(self._output(name, states) for name in self.outputs)

    def _output(self, name: str, states: Sequence[Tensor]) -> Tensor:
        if name == "features":
            return states[-1]
        if name == "embedding":
            return states[-1].mean(1)
        if name == "tags" and self.head is not None:
            levels = [pooled(states[level]) for level in self.head.config.levels]
            return self.head.probabilities(torch.stack(levels, 1))
        raise ValueError(f"no output {name!r}")


def exported(
    module: nn.Module, shortest_samples: int, longest_samples: int
) -> torch.export.ExportedProgram:
    """Export a module that takes one waveform (1, samples), of a range of lengths."""
    samples = torch.export.Dim("samples", min=shortest_samples, max=longest_samples)
    program = torch.export.export(
        module,
        (torch.zeros(1, longest_samples // 2),),
        dynamic_shapes=({1: samples},),
        # It cannot prove that one step is as good as many, and would refuse.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    for node in reversed(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
        elif node.op == "placeholder" and node.name == "waveform":
            # Or they come back with the next transformation.
            node.meta["val"].fake_mode.shape_env.deferred_runtime_asserts.clear()
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program
