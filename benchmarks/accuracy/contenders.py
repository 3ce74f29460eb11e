"""Whose features are judged: bundles' artefacts, a served model, and the mel they start from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ParityError, UsageError
from ...reference.mel import LogMel
from ...reference.training.features import Encoder, pooled_over_parts
from ...runtime.bundle import Artefact, Bundle, load_bundle
from ...runtime.open_session import open_session
from ...runtime.results import FEATURES
from ...runtime.session import WAVEFORM, Session

HIDDEN_STATES = "hidden_states"
BASELINES = ("mel",)
_HOP_SAMPLES, _MELS = 240, 128


@dataclass(frozen=True)
class Contender:
    """One model, or none.

    Attributes:
        name: in the tables.
        open: starts it.
        facts: what the report says of it.
    """

    name: str
    open: Callable[[], AbstractContextManager[Encoder]]
    facts: dict[str, Any]


class SessionEncoder:
    """A session as an encoder: all of its hidden states if it gives them, or its features."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._output = HIDDEN_STATES if HIDDEN_STATES in session.outputs else FEATURES
        self.identity = f"{session.artefact_sha256}-{self._output}"

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        states = self._session.run({WAVEFORM: waveforms}, [self._output])[self._output]
        return pooled_over_parts(states if states.ndim == 4 else states[:, None], parts)


class MelEncoder:
    """MuQ's input, in dB, pooled as any model's features are."""

    identity = f"mel-{_MELS}"

    def __init__(self) -> None:
        self._mel = LogMel(_HOP_SAMPLES, _MELS, 0.0, 1.0)

    @torch.no_grad()
    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        frames = self._mel(torch.from_numpy(waveforms)).transpose(1, 2)[:, None].numpy()
        return pooled_over_parts(frames, parts)


def contenders(
    bundles: Sequence[Path],
    artefacts: Sequence[str],
    server: str | None,
    model: str,
    baselines: Sequence[str],
    threads: int | None,
    allow_uncertified: bool,
) -> list[Contender]:
    """Everyone who was asked for, in that order.

    Args:
        bundles: folders; of each, every artefact.
        artefacts: only those of these names.
        server: HOST:PORT of a server's gRPC.
        model: its name there.
        baselines: "mel".
        threads: for an engine here; all physical cores when None.
        allow_uncertified: take artefacts without a passing certificate, marked.

    Raises:
        UsageError: nobody was asked for, or an unknown baseline.
        BundleError: no bundle, or no such artefact. ParityError: one that is not certified.
    """
    found = [
        _from_artefact(loaded, artefact, threads, allow_uncertified)
        for loaded in map(load_bundle, bundles)
        for artefact in _chosen(loaded, artefacts)
    ]
    if server is not None:
        found.append(
            Contender(f"{model} at {server}", partial(_served, server, model), {"server": server})
        )
    for name in baselines:
        if name not in BASELINES:
            raise UsageError(f"baseline {name!r}: choose among {', '.join(BASELINES)}.")
        found.append(Contender(name, _mel, {"baseline": name}))
    if not found:
        raise UsageError("nothing to evaluate: give bundles, --server HOST:PORT or --baseline mel.")
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise UsageError(f"two of these have the same name: {', '.join(names)}. Rename a folder.")
    return found


def _chosen(bundle: Bundle, names: Sequence[str]) -> Sequence[Artefact]:
    if not names:
        return bundle.artefacts
    return [bundle.artefact(name, allow_uncertified=True) for name in names]


def _from_artefact(
    bundle: Bundle, artefact: Artefact, threads: int | None, allow_uncertified: bool
) -> Contender:
    name = f"{bundle.folder.resolve().name}/{artefact.name}"
    if not artefact.certified:
        if not allow_uncertified:
            raise ParityError(
                f"{bundle.folder}: artefact {artefact.name!r} has no passing certificate. Prove "
                "it with muqrt parity, or add --allow-uncertified."
            )
        name += " (NOT CERTIFIED)"
    facts = {
        "bundle": str(bundle.folder),
        "checkpoint": bundle.source.checkpoint,
        "checkpoint_sha256": bundle.source.sha256,
        "artefact": artefact.name,
        "precision": artefact.precision,
        "level": artefact.level,
        "artefact_sha256": artefact.digest,
        "certified": artefact.certified,
    }
    return Contender(name, partial(_local, bundle, artefact, threads), facts)


@contextmanager
def _local(bundle: Bundle, artefact: Artefact, threads: int | None) -> Iterator[Encoder]:
    with open_session(bundle, artefact, threads) as session:
        yield SessionEncoder(session)


@contextmanager
def _served(url: str, model: str) -> Iterator[Encoder]:
    from ...triton_repo.client import TritonSession

    with TritonSession(url, model) as session:
        yield SessionEncoder(session)


@contextmanager
def _mel() -> Iterator[Encoder]:
    yield MelEncoder()
