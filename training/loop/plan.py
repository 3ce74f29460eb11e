"""How long, how fast and from which seed a model is trained."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...errors import UsageError

Precision = Literal["32-true", "bf16-mixed"]
_OF_THE_WAY = ("save_every_steps", "until_step")


@dataclass(frozen=True)
class TrainingPlan:
    """Everything about a training run that is not the model or the data.

    Attributes:
        steps: optimizer steps.
        batch_size: crops in a step, over all processes.
        crop_seconds: length of a crop.
        learning_rate: its peak, reached after ``warmup_steps`` and brought to zero by a cosine.
        weight_decay: of matrices; norms and biases are not decayed.
        clip_norm: of the gradient.
        ema_decay: keep an exponential moving average of the weights, and return that.
        seed: of the weights, the crops and the masks.
        precision: "bf16-mixed" computes under autocast; the mel stays float32.
        save_every_steps: how much a kill can cost.
        until_step: save and end after this step, to go on some other time.
    """

    steps: int
    batch_size: int = 16
    crop_seconds: float = 5.0
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float | None = None
    seed: int = 0
    precision: Precision = "32-true"
    save_every_steps: int = 200
    until_step: int | None = None

    def __post_init__(self) -> None:
        wrong = [
            name
            for name in ("steps", "batch_size", "crop_seconds", "learning_rate", "clip_norm")
            if getattr(self, name) <= 0
        ]
        if wrong:
            raise UsageError(f"{', '.join(wrong)}: must be above zero.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UsageError(f"EMA decay {self.ema_decay}: must be between 0 and 1.")

    def settings(self) -> dict[str, Any]:
        """What decides the weights, and not how the way to them is divided."""
        return {k: v for k, v in asdict(self).items() if k not in _OF_THE_WAY}

    def learning_rate_at(self, step: int) -> float:
        """The rate at a step, from 0; nothing else decides it, so a run resumes exactly."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
