"""Both towers of a MuQ-MuLan, wherever they run: embeddings of music and texts in one space."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from ...errors import SessionError
from ...export.sources.checkpoint import JointCheckpoint
from ...reference.checkpoint import Checkpoint
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.mulan.model import MuLan
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import Session
from ...runtime.model import Model
from ...runtime.text.encoder import TextEncoder, open_text_encoder
from ...training.pretrain.trainee import initial_muq

_CLIPS_AT_ONCE = 4


class Towers(Protocol):
    """A MuQ-MuLan that is evaluated.

    Attributes:
        audio_identity, text_identity: file names for its cached embeddings, unique to each tower.
    """

    audio_identity: str
    text_identity: str

    def embed_audio(self, waveform: np.ndarray) -> np.ndarray:
        """Embed one track, mono float32 (samples,) at 24 kHz: the mean of its clips' embeddings,
        float32 (width,), not normalised."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 (texts, width), of length one."""
        ...


class SessionTowers:
    """An audio artefact and a text tower, as they are deployed.

    Args:
        session, encoder: both of one bundle; the caller closes them.
    """

    def __init__(self, session: Session, encoder: TextEncoder) -> None:
        self.audio_identity = session.artefact_sha256
        self.text_identity = encoder.artefact_sha256
        self._model = Model(session, batch_size=_CLIPS_AT_ONCE)
        self._encoder = encoder

    def embed_audio(self, waveform: np.ndarray) -> np.ndarray:
        """See ``Towers``."""
        return self._model.embed_audio(waveform, SAMPLE_RATE_HZ)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Towers``."""
        return self._encoder.encode(texts)


class ReferenceTowers:
    """A checkpoint's towers in PyTorch, float32, on the CPU."""

    def __init__(self, checkpoint: JointCheckpoint) -> None:
        self.audio_identity = self.text_identity = checkpoint.sha256
        self._checkpoint = checkpoint

    def embed_audio(self, waveform: np.ndarray) -> np.ndarray:
        """See ``Towers``."""
        batch = torch.from_numpy(waveform)[None]
        found = self._checkpoint.mulan.embed_audio(batch, clips_at_once=_CLIPS_AT_ONCE)
        return _finite(found[0].numpy())

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Towers``."""
        return _finite(self._checkpoint.text_latents(texts))


@contextmanager
def open_towers(
    bundle: Bundle,
    artefact: Artefact,
    text_artefact: Artefact,
    threads: int | None,
    allow_uncertified: bool,
) -> Iterator[Towers]:
    """Open both towers of a bundle on this machine.

    Args:
        bundle: a MuQ-MuLan's.
        artefact, text_artefact: its towers to open.
        threads: CPU threads of each; all physical cores when None.
        allow_uncertified: open artefacts without a passing certificate too.
    """
    with (
        open_session(bundle, artefact, threads) as session,
        open_text_encoder(bundle.folder, text_artefact.name, threads, allow_uncertified) as encoder,
    ):
        yield SessionTowers(session, encoder)


def _finite(embeddings: np.ndarray) -> np.ndarray:
    if not np.isfinite(embeddings).all():
        raise SessionError("the reference gave NaN or infinite latents: the checkpoint is broken.")
    return embeddings


def untrained(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """A MuQ's checkpoint, or a MuQ-MuLan's MuQ, with the weights that training starts with."""
    model = initial_muq(checkpoint.model.config, None, seed).eval()
    return Checkpoint(model, checkpoint.name, _identity(checkpoint, seed))


@contextmanager
def untrained_towers(checkpoint: JointCheckpoint, seed: int) -> Iterator[Towers]:
    """A MuQ-MuLan's towers with initial weights and the checkpoint's tokenizer."""
    trained = checkpoint.mulan
    audio, text = trained.mulan.audio, trained.mulan.text
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mulan = MuLan(trained.config, audio.model.config, text.model.config).eval()
    identity = _identity(checkpoint, seed)
    yield ReferenceTowers(replace(checkpoint, mulan=mulan, sha256=identity))


def _identity(checkpoint: Checkpoint, seed: int) -> str:
    return f"{checkpoint.sha256}-untrained-{seed}"
