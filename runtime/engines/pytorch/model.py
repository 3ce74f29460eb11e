"""MuQ for PyTorch in the form in which it is deployed: weights folded, and as few operations.

Only PyTorch's session imports this, when it is used: the rest of the runtime needs no torch.

Whatever is not said to be fp32 has the artefact's precision. The log-mel stays fp32, because with
fewer bits quiet bands would drown in loud ones; so do means, tags and tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import SessionError
from ....kernels.log_mel.contract import MELS
from ....kernels.log_mel.torch import log_mel
from ....kernels.mel_rvq.contract import MelRvqTables
from ....kernels.mel_rvq.torch import MelRvq
from ...bundle.mix import MIX
from ...bundle.parts import FRAMES
from ...bundle.tagging import TAGS
from ...bundle.tokens import TOKENS
from .design import DESIGN, Design, HeadDesign, TokenDesign
from .encoder import Encoder, Linear

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ResidualBlock(nn.Module):
    """3x3 convolutions with a strided, convolved shortcut; their batch norms are folded.

    The two that read the same input stay apart: merged they measured no faster in bf16 and slower
    in fp32, and the halves of the output would not be dense.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: tuple[int, int], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, dtype=dtype)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, dtype=dtype)
        self.conv3 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames, mels) -> both axes divided by the stride, rounded up."""
        y = self.conv2(self.conv1(x).relu_())
        y += self.conv3(x)
        return y.relu_()


class FrontEnd(nn.Module):
    """Two residual blocks, then a linear layer over (band, channel).

    Time is the images' height and channels are last in memory, so that the blocks' output is
    (batch, steps, bands * channels) without a copy.
    """

    def __init__(self, design: Design, dtype: torch.dtype) -> None:
        super().__init__()
        channels, stride = design.channels, design.frames_per_step // 2
        self._dtype = dtype
        self.blocks = nn.Sequential(
            ResidualBlock(1, channels, (2, 2), dtype),
            ResidualBlock(channels, channels, (stride, 2), dtype),
        )
        self.linear = Linear(channels * MELS // 4, design.width, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """log_mel (batch, mels, frames) float32 -> (batch, steps, width) float32."""
        image = x.mT.to(self._dtype).contiguous().unsqueeze(-1).permute(0, 3, 1, 2)
        y = self.blocks(image).permute(0, 2, 3, 1)
        return self.linear(y.flatten(2)).float()


class TorchTagHead(nn.Module):
    """Hidden states to probabilities, in fp32; mixture and deviations are in the first matrix."""

    mean: Tensor

    def __init__(self, design: HeadDesign, width: int) -> None:
        super().__init__()
        self._levels, self._smallest_variance = design.levels, design.smallest_variance
        inputs = 2 * width * len(design.levels)
        self.register_buffer("mean", torch.empty(inputs))
        self.hidden = nn.Linear(inputs, design.hidden) if design.hidden else None
        self.output = nn.Linear(design.hidden or inputs, design.tags)
        self._groups = design.groups

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """From level 0, (batch, steps, width) each -> (batch, tags)."""
        statistics = []
        for level in self._levels:
            variance, mean = torch.var_mean(states[level], 1, correction=0)
            statistics += [mean, (variance + self._smallest_variance).sqrt()]
        x = torch.cat(statistics, -1) - self.mean
        if self.hidden is not None:
            x = self.hidden(x).relu_()
        logits = self.output(x)
        tags = logits.sigmoid()
        for start, end in self._groups:  # a softmax with a 0 for none of them
            group = F.pad(logits[:, start:end], (0, 1)).softmax(-1)
            tags[:, start:end] = group[:, :-1]
        return tags


class DeployedMuQ(nn.Module):
    """The model; its state dict is what an artefact's file holds.

    Args:
        design: its sizes.
        dtype: of matrices and convolutions, but not of the head and the tokens' tables.
    """

    def __init__(self, design: Design, dtype: torch.dtype) -> None:
        super().__init__()
        self.design = design
        self.front_end = FrontEnd(design, dtype)
        self.encoder = Encoder(
            design.level,
            design.width,
            design.heads,
            design.inner,
            design.kernel,
            design.norm_eps,
            dtype,
        )
        self.head = TorchTagHead(design.head, design.width) if design.head is not None else None
        tokens = design.tokens
        self.rvq = _rvq(tokens, design.width) if tokens is not None else None
        self._tokens_are_of_log_mel = tokens is not None and tokens.level is None

    def forward(self, x: Tensor, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Some of the model's outputs, and nothing computed that they do not need.

        Args:
            x: a waveform (batch, samples) or frames (batch, steps, width), float32.
            outputs: names, those of the artefact or ``frames``.
        """
        found: dict[str, Tensor] = {}
        is_waveform = x.ndim == 2
        if is_waveform:
            x = log_mel(x, self.design.mean_db, self.design.std_db, torch.float32)
            if self.rvq is not None and self._tokens_are_of_log_mel and TOKENS in outputs:
                found[TOKENS] = self.rvq(x)
        rest = [name for name in outputs if name not in found]
        if rest:
            frames = self.front_end(x) if is_waveform else x
            states = self.encoder(frames, max(map(self._level_of, rest)))
            found |= {name: self._output(name, states) for name in rest}
        return {name: found[name] for name in outputs}

    def _level_of(self, output: str) -> int:
        """The deepest hidden state that an output is made of."""
        if output == FRAMES:
            return 0
        if output == TAGS and self.design.head is not None:
            return max(self.design.head.levels)
        if output == TOKENS and self.design.tokens is not None:
            return self.design.tokens.level or 0
        if output == MIX and self.design.mix is not None:
            return max(self.design.mix.levels)
        return self.design.level

    def _output(self, name: str, states: Sequence[Tensor]) -> Tensor:
        if name == TAGS and self.head is not None:
            return self.head(states)
        if name == TOKENS and self.rvq is not None:
            return self.rvq(states[self._level_of(name)].mT)
        if name == MIX and self.design.mix is not None:
            pairs = zip(self.design.mix.levels, self.design.mix.weights, strict=True)
            return torch.stack([weight * states[level] for level, weight in pairs]).sum(0)
        if name == "embedding":
            return states[-1].mean(1)
        if name == "hidden_states":
            return torch.stack(list(states), 1)
        return states[self._level_of(name)]


def load_model(path: Path, precision: str, device: torch.device) -> DeployedMuQ:
    """The model in an artefact's file, ready to run on a device."""
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            design = Design.model_validate_json((file.metadata() or {}).get(DESIGN, ""))
            names = file.keys()
            state = {name: _channels_last(file.get_tensor(name)) for name in names}
        with torch.device("meta"):
            model = DeployedMuQ(design, DTYPES[precision])
        model.load_state_dict(state, assign=True)
    except (OSError, RuntimeError, SafetensorError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise SessionError(f"{path}: PyTorch cannot load it ({reason}).") from error
    return model.eval().requires_grad_(False)


def _channels_last(weight: Tensor) -> Tensor:
    """As convolutions read it; other weights stay as they are."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


def _rvq(design: TokenDesign, width: int) -> MelRvq:
    """With tables that are yet to be filled; ``width`` is a hidden state's."""
    read = MELS * design.frames_per_step if design.level is None else width
    latents = design.stages * design.code_width
    tables = MelRvqTables(
        projection=np.empty((latents, read), np.float32),
        bias=np.empty(latents, np.float32),
        codebooks=np.empty((design.stages, design.codes, design.code_width), np.float32),
        corrections=np.empty((design.stages, design.codes, latents), np.float32),
    )
    return MelRvq(tables, design.frames_per_step)
