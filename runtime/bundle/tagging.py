"""Tags: their names and thresholds, and the tags of one track."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ...errors import UsageError
from .output import Gate, Output
from .record import Sha256, TensorSpec

TAGS = "tags"  # the output's name
# Far above any real head's; they keep a hostile manifest from filling the memory.
_MOST_TAGS = 10_000
_LONGEST_NAME_CHARACTERS = 200
_FIGURES_LIMIT_CHARACTERS = 1 << 16
_NAMES_SHOWN = 12  # in the summary
_SHORTEST_WINDOW_SECONDS, _LONGEST_WINDOW_SECONDS = 1, 600


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name!r} has characters that cannot be printed")
    return name


Name = Annotated[
    str, Field(min_length=1, max_length=_LONGEST_NAME_CHARACTERS), AfterValidator(_printable)
]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Vocabulary(Protocol):
    """Names and thresholds of tags: a head's (``Tagging``), or a user's own."""

    @property
    def task(self) -> str:
        """What the tags are for."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """Their names."""

    @property
    def window_seconds(self) -> float:
        """How much audio one answer is for."""

    @property
    def groups(self) -> Sequence[Sequence[str]]:
        """Tags of which one counts at most."""

    def limits(self, threshold: float | None = None) -> dict[str, float]:
        """The probability from which each tag counts: its own threshold, or this one for all."""


def present(
    vocabulary: Vocabulary, scores: np.ndarray, limits: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Which tags count: bool (..., tags).

    Args:
        vocabulary: their names and groups; of a group only the most probable tag can count.
        scores: (..., tags).
        limits: (tags,), the probability from which each counts.
    """
    found: np.ndarray = np.asarray(scores) >= np.asarray(limits)
    places = {name: place for place, name in enumerate(vocabulary.vocabulary)}
    for group in vocabulary.groups:
        columns = [places[name] for name in group]
        best = np.asarray(scores)[..., columns].argmax(-1)[..., None]
        found[..., columns] &= np.arange(len(columns)) == best
    return found


class Tagging(Output):
    """What the ``tags`` output means.

    Attributes:
        task: what the head was trained for, such as "tagging".
        vocabulary: the tags' names, in the output's order.
        thresholds: the probability from which each tag counts.
        groups: tags of which one counts at most, the most probable: slow, moderate and fast.
        window_seconds: how much audio one answer is for.
        head_sha256: hash of the head's configuration and weights.
        figures: what was measured when the head was trained.
    """

    output: ClassVar[str] = TAGS
    key: ClassVar[str] = "tagging"
    always_listed: ClassVar[bool] = True
    how_to_get: ClassVar[str] = (
        "this model has no tags. Export it with a head: "
        "muqrt export CHECKPOINT --head HEAD -o BUNDLE"
    )
    # Probabilities have no direction, and a change of one matters as much where all are small.
    gates: ClassVar[tuple[Gate, ...]] = (
        Gate("largest_difference", "largest_tag_change", at_least=False),
    )

    task: Name
    vocabulary: Annotated[list[Name], Field(min_length=1, max_length=_MOST_TAGS)]
    thresholds: list[Probability]
    window_seconds: Annotated[
        float, Field(ge=_SHORTEST_WINDOW_SECONDS, le=_LONGEST_WINDOW_SECONDS, allow_inf_nan=False)
    ]
    head_sha256: Sha256
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    groups: list[list[Name]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Tagging":
        seen: set[str] = set()
        for name in self.vocabulary:
            if name in seen:
                raise ValueError(f"the tag {name!r} is in the vocabulary twice")
            seen.add(name)
        if len(self.thresholds) != len(self.vocabulary):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.vocabulary)} tags")
        grouped = [name for group in self.groups for name in group]
        if len(set(grouped)) < len(grouped) or not set(grouped) <= seen:
            raise ValueError("groups: each name must be a tag, and in one group only")
        if len(json.dumps(self.figures)) > _FIGURES_LIMIT_CHARACTERS:
            raise ValueError(f"figures of more than {_FIGURES_LIMIT_CHARACTERS} characters")
        return self

    @model_serializer(mode="wrap")
    def _without_empty_groups(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records from before there were groups stay as they were, and so do their hashes."""
        found: dict[str, Any] = handler(self)
        if not self.groups:
            found.pop("groups", None)  # absent where only some fields are wanted
        return found

    @property
    def spec(self) -> TensorSpec:
        """The output: (batch, tags)."""
        return TensorSpec(name=TAGS, dtype="float32", shape=["batch", len(self.vocabulary)])

    def matches(self, found: TensorSpec) -> bool:
        """Whether the output is as wide as the vocabulary, whatever its dtype."""
        return found.shape[1:] == self.spec.shape[1:]

    def summary(self, sample_rate_hz: int) -> list[str]:
        """The tags and thresholds, and what was measured in training."""
        names = ", ".join(self.vocabulary[:_NAMES_SHOWN])
        more = len(self.vocabulary) - _NAMES_SHOWN
        thresholds = sorted({f"{each:.2f}" for each in self.thresholds})
        lines = [
            f"{len(self.vocabulary)} tags: {names}{f' and {more} more' if more > 0 else ''}",
            f"task {self.task}, windows of {self.window_seconds:g} s, "
            f"thresholds {' to '.join(dict.fromkeys((thresholds[0], thresholds[-1])))}, "
            f"head {self.head_sha256[:12]}...",
        ]
        numbers = {k: v for k, v in self.figures.items() if isinstance(v, (int, float))}
        if numbers:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            lines.append(f"measured in training: {figures}")
        return lines

    def limits(self, threshold: float | None = None) -> dict[str, float]:
        """The probability from which each tag counts: its own threshold, or this one for all.

        Raises:
            UsageError: the threshold is not a probability.
        """
        if threshold is None:
            return dict(zip(self.vocabulary, self.thresholds, strict=True))
        return one_limit(self.vocabulary, threshold)


def one_limit(vocabulary: Sequence[str], threshold: float) -> dict[str, float]:
    """The same threshold for every tag."""
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold}: a probability is between 0 and 1.")
    return dict.fromkeys(vocabulary, float(threshold))


class TagScore(NamedTuple):
    """A tag and its probability."""

    tag: str
    score: float


def nearest(vocabulary: Vocabulary, scores: np.ndarray, threshold: float | None = None) -> TagScore:
    """The tag that comes nearest to its threshold: the best guess where none reaches it.

    Args:
        vocabulary: the tags' names and thresholds.
        scores: float32 (tags,).
        threshold: of all tags, instead of their own.
    """
    limits = np.array(list(vocabulary.limits(threshold).values()))
    place = int((scores - limits).argmax())
    return TagScore(vocabulary.vocabulary[place], float(scores[place]))


class Segment(NamedTuple):
    """A stretch of a track, in seconds."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, eq=False)
class TrackTags:
    """How probable each tag is, window by window and for the whole track.

    Each window stands for the stretch of the track that is nearer to its middle than to any other
    window's; the stretches follow one another without gap or overlap. Windows of silence have no
    tags: their scores are 0 and no threshold is reached in them.

    Attributes:
        tagging: the tags' names and thresholds.
        edges_seconds: float64 (windows + 1,); window i stands for edge i to edge i + 1.
        window_scores: float32 (windows, tags).
        silent: bool (windows,), which windows are silent; none when left out.
    """

    tagging: Vocabulary
    edges_seconds: np.ndarray
    window_scores: np.ndarray
    silent: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), kw_only=True)

    def __post_init__(self) -> None:
        silent = self.silent if len(self.silent) else np.zeros(len(self.window_scores), bool)
        object.__setattr__(self, "silent", silent)
        scores = np.where(silent[:, None], np.float32(0), self.window_scores)
        object.__setattr__(self, "window_scores", scores)

    @property
    def seconds(self) -> float:
        """The track's duration."""
        return float(self.edges_seconds[-1])

    @property
    def scores(self) -> np.ndarray:
        """Float32 (tags,): the mean of the windows that are not silent, each weighted by the
        stretch it stands for; zeros for a silent track."""
        if self.is_silent:
            return np.zeros(self.window_scores.shape[1], np.float32)
        weights = np.diff(self.edges_seconds) * ~self.silent
        mean: np.ndarray = np.average(self.window_scores, axis=0, weights=weights)
        return mean.astype(np.float32)

    @property
    def is_silent(self) -> bool:
        """Whether the whole track is silent."""
        return bool(self.silent.all())

    @property
    def silences(self) -> list[Segment]:
        """Where the track is silent: runs of silent windows."""
        return self._runs(self.silent)

    def ranking(self) -> list[TagScore]:
        """Every tag with its score for the whole track, best first."""
        scores = self.scores
        names = self.tagging.vocabulary
        return [TagScore(names[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]

    def tags(self, threshold: float | None = None) -> list[TagScore]:
        """The track's tags, best first: those that reach their own threshold, or this one, and of a
        group the most probable. A silent track has none.

        Raises:
            UsageError: the threshold is not a probability.
        """
        limits = self.tagging.limits(threshold)
        counts = present(self.tagging, self.scores, list(limits.values()))
        names = {name for name, does in zip(limits, counts, strict=True) if does}
        return [] if self.is_silent else [each for each in self.ranking() if each.tag in names]

    def guess(self, threshold: float | None = None) -> TagScore | None:
        """Where no tag is certain: the one that comes nearest to its threshold, or this one.

        None where there are tags, or the track is silent.

        Raises:
            UsageError: the threshold is not a probability.
        """
        if self.is_silent or self.tags(threshold):
            return None
        return nearest(self.tagging, self.scores, threshold)

    def segments(self, threshold: float | None = None) -> dict[str, list[Segment]]:
        """Where each tag is present: runs of windows that reach its threshold, or this one.

        A tag that is present nowhere is left out; the others come in the ranking's order.

        Raises:
            UsageError: the threshold is not a probability.
        """
        limits = self.tagging.limits(threshold)
        above = present(self.tagging, self.window_scores, list(limits.values()))
        above &= ~self.silent[:, None]
        columns = dict(zip(limits, above.T, strict=True))
        found = {tag: self._runs(columns[tag]) for tag, _ in self.ranking()}
        return {tag: runs for tag, runs in found.items() if runs}

    def _runs(self, above: np.ndarray) -> list[Segment]:
        # The windows at which a run begins, and those after which one has ended, by turns.
        turns = np.flatnonzero(np.diff(above, prepend=False, append=False))
        edges = self.edges_seconds[turns].tolist()
        return [Segment(*pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
