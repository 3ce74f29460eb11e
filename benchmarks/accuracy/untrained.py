"""A checkpoint's architecture with the weights it has before training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ...export.sources.checkpoint import JointCheckpoint
from ...reference.checkpoint import Checkpoint
from ...reference.mulan.model import MuLan
from ...reference.muq import MuQ
from .towers import ReferenceTowers, Towers


def untrained(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """A MuQ's checkpoint, or a MuQ-MuLan's MuQ, with the weights that training starts with."""
    with _seeded(seed):
        model = MuQ(checkpoint.model.config).eval()
    return Checkpoint(model, checkpoint.name, _identity(checkpoint, seed))


@contextmanager
def untrained_towers(checkpoint: JointCheckpoint, seed: int) -> Iterator[Towers]:
    """A MuQ-MuLan's towers with initial weights and the checkpoint's tokenizer."""
    trained = checkpoint.mulan
    audio, text = trained.mulan.audio, trained.mulan.text
    with _seeded(seed):
        mulan = MuLan(trained.config, audio.model.config, text.model.config).eval()
    identity = _identity(checkpoint, seed)
    yield ReferenceTowers(replace(checkpoint, mulan=mulan, sha256=identity))


def _identity(checkpoint: Checkpoint, seed: int) -> str:
    return f"{checkpoint.sha256}-untrained-{seed}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
