"""Load a head that was trained elsewhere in PyTorch, the source of the output ``scores``."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError

from ...common.validation import first_problem
from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...reference.probe import Probe
from ...reference.song_scorer import SongScorer
from ...reference.weights import checked_state, read_weights
from ...runtime.bundle.scoring import Scoring
from .described import SUFFIXES, described
from .head import TagHead, check_fits, load_tag_head
from .head_weights import HeadFile, module_of

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_SONG_LABELS = ["coherence", "musicality", "memorability", "clarity", "naturalness"]
_PROBE_SECONDS = 30.0
_LIGHTNING = "state_dict"  # where Lightning's checkpoints have the weights


@dataclass(frozen=True, eq=False)
class ScoreHead:
    """A head that was trained elsewhere; ``name`` is what errors call it.

    Attributes:
        record: what the manifest says of its scores.
    """

    name: str
    head: Probe | SongScorer
    record: Scoring

    @torch.inference_mode()
    def expected(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """The reference's scores (batch, scores) for its hidden states, each (batch, steps, width),
        from level 0."""
        found = self.head([torch.from_numpy(states[level]) for level in self.head.levels])
        if self.record.activation == "sigmoid":
            found = found.sigmoid()
        elif self.record.activation == "softmax":
            found = found.softmax(-1)
        return found.numpy()

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError unless it fits the checkpoint's graph up to ``level``."""
        check_fits(self.name, self.head.levels, self.head.width, checkpoint, level)


def load_head(path: Path) -> TagHead | ScoreHead:
    """Load a tagger's head from its folder, or one that was trained elsewhere from a file.

    Raises:
        UsageError, CheckpointError: what is there is no such head; see ``load_tag_head`` and
            ``load_score_head``.
    """
    return load_tag_head(path) if path.is_dir() else load_score_head(path)


def load_score_head(path: Path) -> ScoreHead:
    """Load a head.

    Args:
        path: the file of its weights, or a JSON or TOML file that describes it.

    Raises:
        UsageError: not TOML. CheckpointError: no such file, or the weights are not what the file
            says, or not of a kind that is known.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no head there: neither a file nor a folder.")
    if path.suffix in SUFFIXES:
        facts = described(path, HeadFile)
        weights = path.parent / facts.weights
    elif path.suffix in WEIGHTS_SUFFIXES:
        facts, weights = HeadFile(weights=path.name), path
    else:
        raise CheckpointError(
            f"{path}: a head is a file {', '.join(WEIGHTS_SUFFIXES)}, or a JSON or TOML file that "
            "describes one."
        )
    document = read_weights(weights)
    if isinstance(document, dict) and _LIGHTNING in document:
        document = document[_LIGHTNING]
    state = checked_state(document, weights)
    return _score_head(path, module_of(weights, facts, state), facts)


def _score_head(path: Path, head: Probe | SongScorer, facts: HeadFile) -> ScoreHead:
    usual: float | Literal["whole"] = _PROBE_SECONDS
    names: list[str] | None = None
    if isinstance(head, SongScorer):
        outputs, usual = head.config.outputs, "whole"
        names = _SONG_LABELS if outputs == len(_SONG_LABELS) else None
    else:
        outputs = head.config.widths[-1]
    labels = facts.labels or names or [str(index) for index in range(outputs)]
    if len(labels) != outputs:
        raise CheckpointError(f"{path}: {len(labels)} labels for a head of {outputs} outputs.")
    try:
        record = Scoring(
            labels=labels,
            levels=head.levels,
            activation=facts.activation,
            window_seconds=facts.window_seconds or usual,
            head_sha256=_digest(head),
        )
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}.") from None
    return ScoreHead(str(path), head, record)


def _digest(head: Probe | SongScorer) -> str:
    """One hash over the shape and every weight, however they are stored."""
    facts = {type(head).__name__: asdict(head.config)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(head.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
