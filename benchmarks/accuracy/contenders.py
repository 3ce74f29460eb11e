"""The contenders: bundles' artefacts, a served model, checkpoints, and baselines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ParityError, UsageError
from ...export.sources.checkpoint import JointCheckpoint, load_source
from ...reference.checkpoint import Checkpoint
from ...reference.mel import LogMel
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Artefact, Bundle, load_bundle
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ...runtime.bundle.tagging import TAGS, Vocabulary
from ...runtime.engines.open_session import open_session
from ...runtime.engines.session import WAVEFORM, Session
from ...runtime.hub.fetch import local_folder
from ...runtime.inference.results import FEATURES
from ...training.probe.features import Encoder, pooled_over_parts
from ...training.probe.train import MuqEncoder
from .request import Wanted
from .towers import ReferenceTowers, Towers, open_towers, untrained, untrained_towers

MEL, UNTRAINED = "mel", "untrained"
BASELINES = (MEL, UNTRAINED)
_HIDDEN_STATES = "hidden_states"
_HOP_SAMPLES, _MELS = 240, 128


@dataclass(frozen=True)
class Contender:
    """One model or baseline.

    Attributes:
        name: its name in the tables.
        open: starts the encoder that computes its features.
        facts: what the report says about it.
        towers: each starts both towers of a MuQ-MuLan; the figures of several are averaged.
        tags: starts what tags windows, where it has a head: an encoder of (windows, 1, 1, tags).
        vocabulary: of these tags.
    """

    name: str
    open: Callable[[], AbstractContextManager[Encoder]]
    facts: dict[str, Any]
    towers: Sequence[Callable[[], AbstractContextManager[Towers]]] = ()
    tags: Callable[[], AbstractContextManager[Encoder]] | None = None
    vocabulary: Vocabulary | None = None


def contenders(wanted: Wanted) -> list[Contender]:
    """The contenders that were asked for, or muq-mini, which comes with muqrt; baselines come last.

    Raises:
        UsageError: an unknown baseline, or two contenders of the same name.
        BundleError: no bundle, or no such artefact.
        ParityError: an artefact is not certified.
        CheckpointError: no checkpoint.
    """
    for name in wanted.baselines:
        if name not in BASELINES:
            raise UsageError(f"baseline {name!r}: choose among {', '.join(BASELINES)}.")
    if UNTRAINED in wanted.baselines and not wanted.checkpoints:
        raise UsageError(f"--baseline {UNTRAINED} needs the architecture of a --checkpoint.")
    checkpoints = [load_source(name) for name in wanted.checkpoints]
    others = bool(checkpoints or wanted.baselines or wanted.server)
    found = [
        _from_artefact(loaded, artefact, wanted)
        for folder in wanted.bundles or ([] if others else [SHIPPED_BUNDLE])
        for loaded in [load_bundle(local_folder(folder))]
        for artefact in _chosen(loaded, wanted.artefacts)
    ]
    found += map(_from_checkpoint, checkpoints)
    if wanted.server is not None:
        opened = partial(_served, wanted.server, wanted.model)
        facts = {"server": wanted.server}
        found.append(Contender(f"{wanted.model} at {wanted.server}", opened, facts))
    if UNTRAINED in wanted.baselines:
        found += [_untrained(each, wanted.seeds) for each in _one_of_each_kind(checkpoints)]
    if MEL in wanted.baselines:
        found.append(Contender(MEL, lambda: nullcontext(MelEncoder()), {"baseline": MEL}))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise UsageError(f"two contenders have the same name: {', '.join(names)}. Rename a folder.")
    return found


def _chosen(bundle: Bundle, names: Sequence[str]) -> Sequence[Artefact]:
    if not names:
        return bundle.audio_artefacts
    return [bundle.artefact(name, allow_uncertified=True) for name in names]


def _from_artefact(bundle: Bundle, artefact: Artefact, wanted: Wanted) -> Contender:
    name = f"{bundle.folder.resolve().name}/{artefact.name}"
    if not artefact.certified:
        if not wanted.allow_uncertified:
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
    opened = partial(_local, bundle, artefact, wanted.threads)
    outputs = [output.name for output in artefact.outputs]
    if LATENTS not in outputs:
        own = partial(_local_tags, bundle, artefact, wanted.threads) if TAGS in outputs else None
        return Contender(name, opened, facts, tags=own, vocabulary=bundle.tagging)
    allowed = wanted.allow_uncertified
    text = bundle.artefact(wanted.text_artefact, allow_uncertified=allowed, tower="text")
    facts |= {"text_artefact": text.name, "text_artefact_sha256": text.digest}
    towers = partial(open_towers, bundle, artefact, text, wanted.threads, allowed)
    return Contender(name, opened, facts, [towers])


def _from_checkpoint(checkpoint: Checkpoint) -> Contender:
    return Contender(
        f"{_stem(checkpoint)} in PyTorch",
        lambda: nullcontext(MuqEncoder(checkpoint, torch.device("cpu"))),
        {"checkpoint": checkpoint.name, "checkpoint_sha256": checkpoint.sha256},
        [partial(_open, ReferenceTowers(each)) for each in _joint(checkpoint)],
    )


def _untrained(checkpoint: Checkpoint, seeds: int) -> Contender:
    """A checkpoint's architecture before training; features are those of seed 0."""
    return Contender(
        f"{_stem(checkpoint)}, untrained",
        lambda: nullcontext(MuqEncoder(untrained(checkpoint, 0), torch.device("cpu"))),
        {"checkpoint": checkpoint.name, "weights": "initial"},
        [partial(untrained_towers, each, s) for each in _joint(checkpoint) for s in range(seeds)],
    )


def _one_of_each_kind(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The first checkpoint of each architecture: before training they are all the same."""
    found: dict[str, Checkpoint] = {}
    for each in checkpoints:
        settings: tuple[object, ...] = (each.model.config,)
        if isinstance(each, JointCheckpoint):
            settings += (each.mulan.config, each.mulan.mulan.text.model.config)
        found.setdefault(repr(settings), each)
    return list(found.values())


def _joint(checkpoint: Checkpoint) -> list[JointCheckpoint]:
    """The checkpoint if it has two towers, else none."""
    return [checkpoint] if isinstance(checkpoint, JointCheckpoint) else []


def _open(towers: Towers) -> AbstractContextManager[Towers]:
    return nullcontext(towers)


def _stem(checkpoint: Checkpoint) -> str:
    path = Path(checkpoint.name).resolve()
    # Every training's result is called RUN/checkpoint.
    return path.parent.name if path.name == "checkpoint" else path.name


@contextmanager
def _local(bundle: Bundle, artefact: Artefact, threads: int | None) -> Iterator[Encoder]:
    with open_session(bundle, artefact, threads) as session:
        yield SessionEncoder(session)


@contextmanager
def _local_tags(bundle: Bundle, artefact: Artefact, threads: int | None) -> Iterator[Encoder]:
    with open_session(bundle, artefact, threads) as session:
        yield TagEncoder(session)


@contextmanager
def _served(url: str, model: str) -> Iterator[Encoder]:
    from ...triton_repo.client.session import TritonSession

    with TritonSession(url, model) as session:
        yield SessionEncoder(session)


class SessionEncoder:
    """A session as an encoder: all of its hidden states, or its features if it has none."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._output = _HIDDEN_STATES if _HIDDEN_STATES in session.outputs else FEATURES
        self.identity = f"{session.artefact_sha256}-{self._output}"

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        states = self._session.run({WAVEFORM: waveforms}, [self._output])[self._output]
        return pooled_over_parts(states if states.ndim == 4 else states[:, None], parts)


class TagEncoder:
    """A session's tags in the place of features."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.identity = f"{session.artefact_sha256}-{TAGS}"

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """(windows, samples) -> (windows, 1, 1, tags)."""
        return self._session.run({WAVEFORM: waveforms}, [TAGS])[TAGS][:, None, None]


class MelEncoder:
    """MuQ's log-mel in dB, pooled like any model's features."""

    identity = f"mel-{_MELS}"

    def __init__(self) -> None:
        self._mel = LogMel(_HOP_SAMPLES, _MELS, 0.0, 1.0)

    @torch.no_grad()
    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        frames = self._mel(torch.from_numpy(waveforms)).transpose(1, 2)[:, None].numpy()
        return pooled_over_parts(frames, parts)
