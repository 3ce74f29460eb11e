"""Load a checkpoint to export: a MuQ's or a MuQ-MuLan's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ...common.files import sha256
from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint, load_checkpoint
from ...reference.hub import USUAL, HubOptions
from ...reference.mulan.checkpoint import is_mulan, load_mulan
from ...reference.mulan.model import MuLan
from ...runtime.bundle.joint import TOKENIZER_FILE, Joint
from ...runtime.bundle.manifest import Bundle
from ...runtime.text.tokenizer import TextTokenizer
from .texts import TEXTS


@dataclass
class JointCheckpoint(Checkpoint):
    """A MuQ-MuLan's checkpoint, usable wherever its MuQ's is.

    Attributes:
        mulan: both towers; its MuQ is ``model``.
        joint: what it puts into the bundle.
        tokenizer: the text encoder's ``tokenizer.json``.
        words: the file of its ``LearnedWords``, if there is one.
    """

    mulan: MuLan
    joint: Joint
    tokenizer: Path
    words: Path | None = None

    @property
    def parameters(self) -> int:
        """Number of weights of both towers."""
        return sum(parameter.numel() for parameter in self.mulan.parameters())

    @property
    def level(self) -> int:
        """The MuQ's hidden state that the audio tower reads."""
        levels = self.model.config.encoder_depth + 1
        return range(levels)[self.mulan.mulan.audio.level]

    @torch.inference_mode()
    def audio_latents(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """The reference's embeddings (batch, width) for its hidden states, each (batch, steps,
        width), from level 0."""
        towers = self.mulan.mulan
        chosen = towers.audio.proj(torch.from_numpy(states[self.level]))
        mean = towers.audio.transformer(chosen).mean(dim=1)
        return F.normalize(towers.audio_to_latents(mean), dim=-1).numpy()

    @torch.inference_mode()
    def text_latents(self, texts: Sequence[str]) -> np.ndarray:
        """The reference's embeddings (texts, width), each text alone."""
        tokenizer = TextTokenizer(self.tokenizer, self.joint.max_tokens)
        # Alone no text has padding.
        ids = [torch.from_numpy(tokenizer.encode([text])[0]) for text in texts]
        return torch.cat([self.mulan.text_latents(each) for each in ids]).numpy()

    @cached_property
    def proving_texts(self) -> np.ndarray:
        """The reference's embeddings (texts, width) of ``TEXTS``."""
        return self.text_latents(TEXTS)

    @property
    def record(self) -> Joint:
        """What the manifest says of the latents."""
        return self.joint

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError if the audio tower stands on a deeper level than the exported."""
        if self.level > level:
            raise CheckpointError(
                f"{self.name}: its audio tower reads level {self.level}, beyond the exported "
                f"level {level}. Export with --level {self.level} or deeper."
            )


def load_source(name: str | Path, hub: HubOptions = USUAL) -> Checkpoint:
    """Load a MuQ's or a MuQ-MuLan's checkpoint.

    Args:
        name: what ``load_checkpoint`` or ``load_mulan`` takes.
        hub: how what a MuQ-MuLan's folder lacks is fetched.

    Raises:
        CheckpointError: neither, or a MuQ-MuLan without a tokenizer, or with one that knows tokens
            which its text encoder does not.
    """
    return _joint(name, hub) if is_mulan(name) else load_checkpoint(name)


def require_source(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError unless the bundle was made from this checkpoint."""
    if checkpoint.sha256 != bundle.source.sha256:
        raise CheckpointError(
            f"{checkpoint.name}: not the checkpoint of {bundle.folder}, which was made from "
            f"{bundle.source.checkpoint} (SHA-256 {bundle.source.sha256[:12]}...)."
        )


def _joint(name: str | Path, hub: HubOptions) -> JointCheckpoint:
    loaded = load_mulan(name, hub)
    if loaded.tokenizer is None:
        encoder = loaded.model.config.text_model.name
        raise CheckpointError(
            f"{name}: no {TOKENIZER_FILE}, without which no text can be encoded. Put that of "
            f"{encoder} into {Path(name) / encoder}."
        )
    shape = loaded.model.mulan.text.model.config
    known = TextTokenizer(loaded.tokenizer).vocabulary
    if known > shape.vocab_size:
        raise CheckpointError(
            f"{loaded.tokenizer}: knows {known} tokens, the text encoder of {name} only "
            f"{shape.vocab_size}. Give the tokenizer that it was trained with."
        )
    return JointCheckpoint(
        model=loaded.model.mulan.audio.model,
        name=loaded.name,
        sha256=loaded.sha256,
        mulan=loaded.model,
        joint=Joint(
            width=loaded.model.config.mulan.dim_latent,
            clip_samples=loaded.model.config.clip_samples,
            temperature=float(loaded.model.mulan.contrast.temperatures.detach().exp()),
            tokenizer=TOKENIZER_FILE,
            tokenizer_sha256=sha256(loaded.tokenizer),
            vocabulary=shape.vocab_size,
            max_tokens=shape.max_tokens,
        ),
        tokenizer=loaded.tokenizer,
        words=loaded.words,
    )
