"""Load the tagging head behind the output ``tags`` and check that it fits the checkpoint."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from ...common.validation import first_problem
from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...reference.head import Head, load_head, pooled
from ...runtime.bundle.tagging import Tagging

# Where a checkpoint's folder has its own head.
HEAD_FOLDER = "tags"
_THRESHOLD = 0.5  # of a head that was given none


@dataclass(frozen=True, eq=False)
class TagHead:
    """A tagging head; ``name`` is what errors call it.

    Attributes:
        record: what the manifest says of its tags.
    """

    name: str
    head: Head
    record: Tagging

    def expected(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """The reference's probabilities (batch, tags) for its hidden states, each (batch, steps,
        width), from level 0."""
        chosen = [torch.from_numpy(states[level]).double() for level in self.head.config.levels]
        with torch.inference_mode():
            stacked = torch.stack([pooled(each) for each in chosen], 1).float()
            return self.head.probabilities(stacked).numpy()

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError unless it fits the checkpoint's graph up to ``level``."""
        config = self.head.config
        if config.model_sha256 not in ("", checkpoint.sha256):
            raise CheckpointError(
                f"{self.name}: trained on another checkpoint (SHA-256 "
                f"{config.model_sha256[:12]}...) than {checkpoint.name} "
                f"({checkpoint.sha256[:12]}...). Give this one's head, or --no-head."
            )
        check_fits(self.name, config.levels, config.width, checkpoint, level)


def check_fits(
    name: str, levels: Sequence[int], width: int, checkpoint: Checkpoint, level: int
) -> None:
    """Raise CheckpointError unless a head of these levels and this width fits the checkpoint's
    graph up to ``level``."""
    model, deepest = checkpoint.model.config, max(levels)
    if width != model.encoder_dim:
        raise CheckpointError(
            f"{name}: for hidden states of width {width}; those of {checkpoint.name} are "
            f"{model.encoder_dim} wide. Give this one's head."
        )
    if deepest > model.encoder_depth:
        raise CheckpointError(
            f"{name}: reads level {deepest}; {checkpoint.name} has levels 0 to "
            f"{model.encoder_depth}. Give this one's head."
        )
    if deepest > level:
        raise CheckpointError(
            f"{name}: reads level {deepest}, beyond the exported level {level}. Export with "
            f"--level {deepest} or deeper, or with --no-head."
        )


def find_head(checkpoint: str) -> Path | None:
    """The folder of a checkpoint's own head, where the checkpoint is a folder that has one."""
    folder = Path(checkpoint) / HEAD_FOLDER
    return folder if folder.is_dir() else None


def load_tag_head(folder: Path) -> TagHead:
    """Load a tagger's head.

    Raises:
        CheckpointError: not a head's folder, another kind of head, or one that no bundle can
            hold: a tag twice, a threshold that is no probability, a deviation of 0.
    """
    head = load_head(folder)
    config = head.config
    if config.kind != "multilabel" or config.per_step:
        kind = f"{config.kind}, one answer for each step" if config.per_step else config.kind
        raise CheckpointError(
            f"{folder}: a head for {config.task!r} ({kind}). Tags need one of the kind "
            '"multilabel", with one answer for a window.'
        )
    if not (head.deviation > 0).all():
        raise CheckpointError(f"{folder}: a deviation that is not above 0; train the head again.")
    try:
        return TagHead(str(folder), head, tagging_of(head))
    except ValidationError as error:
        problem = first_problem(error)
        raise CheckpointError(f"{folder}: {problem}. Train the head again without it.") from None


def tagging_of(head: Head) -> Tagging:
    """A multilabel head's record."""
    config = head.config
    return Tagging(
        task=config.task,
        vocabulary=config.labels,
        thresholds=config.thresholds or [_THRESHOLD] * len(config.labels),
        groups=config.groups,
        window_seconds=config.window_seconds,
        head_sha256=_digest(head),
        # A score that could not be measured is a NaN, which JSON lacks.
        figures=json.loads(json.dumps(config.figures), parse_constant=lambda name: None),
    )


def _digest(head: Head) -> str:
    """One hash over the configuration and every weight, however they are stored."""
    facts = asdict(head.config)
    if not head.config.groups:  # as before there were any
        del facts["groups"]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(head.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
