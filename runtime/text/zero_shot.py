"""Tags from words: how well each of the user's own labels describes a track, and where."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import AudioError
from ..audio.damage import USUAL, Tolerance
from ..audio.tracks import SECONDS_AHEAD, Audio, AudioFile, Track, one_track
from ..bundle.joint import Joint
from ..bundle.tagging import TrackTags, one_limit
from ..engines.session import Session, require_output
from ..inference.results import Clips, Results, by_file, or_raise, track_clips
from ..inference.runner import OnWindow, Runner
from .labels import LabelSet, unit


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """The labels, and the probability from which each counts.

    Attributes:
        labels: the user's.
        temperature: the model's factor of the cosines before the softmax.
        window_seconds: length of one of the model's clips.
        unlearned: the labels' words that the model did not learn; None where it does not say.
        task: "zero-shot": no tagger was trained for it.
        groups: none.
    """

    labels: LabelSet
    temperature: float
    window_seconds: float
    unlearned: Sequence[str] | None = None
    task: str = field(default="zero-shot", init=False)
    groups: tuple[tuple[str, ...], ...] = field(default=(), init=False)

    @property
    def vocabulary(self) -> Sequence[str]:
        """The labels."""
        return self.labels.labels

    def limits(self, threshold: float | None = None) -> dict[str, float]:
        """The probability from which each label counts: this one, or chance, one over the number
        of labels.

        Raises:
            UsageError: the threshold is not a probability.
        """
        chance = 1 / len(self.vocabulary)
        return one_limit(self.vocabulary, chance if threshold is None else threshold)

    def probabilities(self, cosines: np.ndarray) -> np.ndarray:
        """The softmax over the labels: float32 (..., labels) of cosines (..., labels)."""
        logits = self.temperature * cosines.astype(np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
        return found.astype(np.float32)

    def describe(
        self, cosines: np.ndarray, clip_cosines: np.ndarray, silent: np.ndarray, seconds: float
    ) -> "LabelTags":
        """A track's labels.

        Args:
            cosines: float32 (labels,), of the whole track's embedding with each label's.
            clip_cosines: float32 (clips, labels), of each clip's.
            silent: bool (clips,), whether it is silent.
            seconds: how long the track is.
        """
        starts = np.arange(len(clip_cosines)) * self.window_seconds
        edges, scores = np.append(starts, seconds), self.probabilities(clip_cosines)
        return LabelTags(self, edges, scores, cosines, clip_cosines, silent=silent)


@dataclass(frozen=True, eq=False)
class LabelTags(TrackTags):
    """How well labels describe a track, clip by clip and as a whole.

    Its scores are probabilities that say which of the labels fits best: they depend on what other
    labels there are, and of a single label they are always 1. Cosines depend on nothing else.

    Attributes:
        cosines: float32 (labels,), of the whole track's embedding with each label's.
        window_cosines: float32 (windows, labels), of each clip's.
    """

    tagging: ZeroShot
    cosines: np.ndarray
    window_cosines: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Float32 (labels,): the whole track's probabilities, from its cosines; zeros for a silent
        track."""
        return self.tagging.probabilities(self.cosines) * np.float32(not self.is_silent)


class LabelTagger:
    """Tags tracks with labels.

    Args:
        session: of an audio artefact.
        labels: the user's.
        latents: float32 (labels, width), their embeddings, as ``LabelSet.latents`` gives them.
        batch_size: how many clips to run at once.
        tolerance: how much damage of a file is accepted.
        seconds_ahead: how much audio to decode in advance.
        unlearned: as ``ZeroShot``'s.

    Attributes:
        zero_shot: what it knows of the labels.
        framing: how audio is cut for the model.

    Raises:
        BundleError: the model shares no space with texts.
    """

    def __init__(
        self,
        session: Session,
        labels: LabelSet,
        latents: np.ndarray,
        batch_size: int = 1,
        tolerance: Tolerance | None = None,
        seconds_ahead: int = SECONDS_AHEAD,
        unlearned: Sequence[str] | None = None,
    ) -> None:
        joint, rate_hz = require_output(session, Joint), session.framing.sample_rate_hz
        clip_seconds = joint.clip_samples / rate_hz
        self.zero_shot = ZeroShot(labels, joint.temperature, clip_seconds, unlearned)
        self.framing, self._rate_hz = session.framing, rate_hz
        self._latents = latents
        self._runner = Runner(session, batch_size, tolerance, seconds_ahead)

    def tag(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> LabelTags:
        """The labels of one track, clip by clip and as a whole; arguments as ``Model``'s."""
        return or_raise(self._tagged([one_track(x, rate_hz)], on_window))[0]

    def tag_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, LabelTags | AudioError]]:
        """Tag many files; one that cannot be used does not stop the others.

        Yields:
            (path, its labels or what is wrong with the file), in order.
        """
        return by_file(self._tagged(map(one_track, paths), on_window))

    def _tagged(self, tracks: Iterable[Track], on_window: OnWindow | None) -> Results[LabelTags]:
        timed = (_Timed(each.source, each.rate_hz, each.name) for each in tracks)
        for track, clips in track_clips(self._runner, timed, "wrapped", on_window):
            if not isinstance(clips, Clips):
                yield track, clips
                continue
            assert isinstance(track, _Timed)
            whole, by_clip = unit(clips.mean) @ self._latents.T, clips.latents @ self._latents.T
            seconds = track.samples / self._rate_hz
            yield track, self.zero_shot.describe(whole, by_clip, clips.silent, seconds)


@dataclass(frozen=True, eq=False)
class _Timed(Track):
    """A track that counts its samples while it is read: the filled last clip hides its length."""

    counts: list[int] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return sum(self.counts)

    def blocks(self, rate_hz: int, tolerance: Tolerance = USUAL) -> Iterator[np.ndarray]:
        for block in super().blocks(rate_hz, tolerance):
            self.counts.append(len(block))
            yield block
