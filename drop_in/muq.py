"""``MuQ`` with the official signature."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ..errors import BundleError, UsageError
from ..reference.checkpoint import CONFIG_FILE
from ..reference.config import MuQConfig as AnyMuQConfig
from ..reference.config import config_from, read_config
from ..reference.mulan.checkpoint import is_mulan
from ..runtime.bundle.manifest import Bundle
from ..runtime.bundle.parts import FRAMES
from ..runtime.engines.session import WAVEFORM, Levels, Session
from ..runtime.inference.windows import WindowingConfig
from .backed import Backed, waveforms
from .backing import Backing, backing_of_state
from .configs import config_of
from .refusals import Inside, refuse
from .results import BaseModelOutput
from .states import AnyStates, OneState, RowStates, States, converter

# Far below any score, and within the range of 16 bits: its exponential is 0.
_MASKED = -3e4


class MuQ(Backed):
    """Waveforms to hidden states, as ``muq.MuQ`` gives them.

    ``from_pretrained`` opens a bundle or a checkpoint. The constructor takes a configuration, and
    ``load_state_dict`` the weights.

    Args:
        config: a ``MuQConfig``, or the same as a dict.

    Attributes:
        config: the configuration; of a bundle that was named itself, what it knows of it.
        sr: the sample rate, in Hz.
    """

    sr = 24_000
    _gives_levels = True

    def __init__(self, config: AnyMuQConfig | dict[str, Any]) -> None:
        super().__init__()
        document = config if isinstance(config, dict) else asdict(config)
        self.config: AnyMuQConfig = config_from(document, "config")

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = True,
        *,
        rows: Literal["masked", "alone"] = "masked",
    ) -> BaseModelOutput:
        """The hidden states of a batch, in one window whatever its length.

        Levels are computed when they are asked for: level 6 takes six layers.

        Args:
            x: (batch, samples) floating-point, at 24 kHz.
            attention_mask: (batch, samples), zero where a sample is padding, or (batch, steps). As
                in the official package the padding passes the front end, and then no step attends
                to it.
            output_hidden_states: whether the answer has all levels, or the last alone.
            rows: "alone" gives another answer than the official one: each row is cut to the length
                that its mask says and runs by itself, so that its numbers do not depend on its
                padding; zeros follow its steps.

        Returns:
            Tensors (batch, steps, width) on the device of ``x``, in the model's dtype.

        Raises:
            UsageError: not such a tensor or mask, or gradients. SessionError: too short, or the
                engine failed. BundleError: the bundle has no levels, which masks need.
        """
        if rows not in ("masked", "alone"):
            raise UsageError(f'rows {rows!r}: choose "masked" or "alone".')
        waveform = waveforms(x).numpy()
        mask = _checked_mask(attention_mask, x)
        convert = converter(x.device, self.dtype)
        session = self._session
        states: AnyStates
        if session.levels is None:
            states = self._one_state(session, waveform, mask, convert)
        elif rows == "alone" and mask is not None:
            parts = [
                self._states(session, session.levels, waveform[row, :length][None], None, convert)
                for row, length in enumerate(_lengths(mask, x))
            ]
            steps = WindowingConfig.of(session.framing).steps(x.shape[1])
            states = RowStates(parts, steps)
        else:
            states = self._states(session, session.levels, waveform, mask, convert)
        return BaseModelOutput(states, output_hidden_states)

    @property
    def model(self) -> Inside:
        """The official class's modules, which a bundle does not have."""
        return Inside("MuQ.model")

    def get_predictions(self, *arguments: Any, **named: Any) -> None:
        """Raise UsageError: predictions are for training."""
        refuse("get_predictions()")

    def _one_state(
        self, session: Session, waveform: np.ndarray, mask: np.ndarray | None, convert: Any
    ) -> AnyStates:
        if mask is not None:
            raise BundleError(
                f"{self._backed.bundle}: takes no masks. Export it again with --levels."
            )
        features = session.run({WAVEFORM: waveform}, ["features"])["features"]
        where = str(self._backed.bundle)
        return OneState(convert(features), self._level, self._depth, where)

    def _states(
        self,
        session: Session,
        levels: Levels,
        waveform: np.ndarray,
        mask: np.ndarray | None,
        convert: Any,
    ) -> States:
        """The states of a batch; the front end has run on it."""
        assert session.parts is not None  # where there are levels, there is a front end
        where = str(self._backed.bundle)
        frames = session.parts.front_end.run({WAVEFORM: waveform}, [FRAMES])[FRAMES]
        if mask is None:
            return States(frames, levels, None, convert, self._depth, where)
        # The official sampling: one of so many samples stands for a step.
        stride = mask.shape[1] // frames.shape[1]
        if not stride:
            raise UsageError(
                f"attention_mask has shape {mask.shape}; it needs a column for each sample, or "
                f"at least for each of the {frames.shape[1]} steps."
            )
        kept = mask[:, ::stride][:, : frames.shape[1]]
        frames = np.where(kept[..., None], frames, np.float32(0))
        bias = np.where(kept, 0, _MASKED).astype(np.float32)[:, None, None]
        return States(frames, levels, bias, convert, self._depth, where)

    def _configure(self, bundle: Bundle, found: Backing) -> None:
        if found.checkpoint is None or is_mulan(found.checkpoint):
            self.config = config_of(bundle)
        else:
            self.config = read_config(found.checkpoint / CONFIG_FILE)

    def _backing_of(self, state: Mapping[str, Tensor]) -> Backing:
        return backing_of_state(asdict(self.config), state, self._hub)


def _checked_mask(mask: Tensor | None, x: Tensor) -> np.ndarray | None:
    """The mask as booleans; None where nothing is masked.

    Raises:
        UsageError: no tensor with a row for each waveform.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != len(x):
        found = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UsageError(
            f"attention_mask is {found}; a tensor of the waveforms' shape {tuple(x.shape)} is "
            "needed, 1 for samples and 0 for padding."
        )
    kept = mask.detach().to("cpu").bool().numpy()
    return None if kept.all() else kept


def _lengths(mask: np.ndarray, x: Tensor) -> list[int]:
    """How many samples each row has before its padding.

    Raises:
        UsageError: samples follow the padding, or the mask is not one of samples.
    """
    if mask.shape != x.shape:
        raise UsageError(
            f'attention_mask has shape {mask.shape}: rows="alone" needs that of x, '
            f"{tuple(x.shape)}."
        )
    lengths: list[int] = mask.sum(axis=1).tolist()
    for row, length in enumerate(lengths):
        if not mask[row, :length].all():
            raise UsageError(
                f'row {row} of attention_mask has samples after its padding: rows="alone" needs '
                "the padding at the end."
            )
    return lengths
