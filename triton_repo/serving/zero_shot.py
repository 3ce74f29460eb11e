"""Zero-shot tags for many clients: their clips share batches, labels are embedded once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...common.lru import Lru
from ...common.words import LearnedWords
from ...errors import AudioError, MuqrtError, UsageError
from ...runtime.audio.tracks import Track
from ...runtime.bundle.joint import Joint
from ...runtime.engines.session import Session, require_output
from ...runtime.inference.results import Clips, track_clips
from ...runtime.inference.runner import Runner
from ...runtime.text.labels import TEMPLATES, Embed, LabelSet, unit
from ...runtime.text.zero_shot import ZeroShot
from ..contract.label_sets import LabelSets
from ..contract.limits import Limits
from .latent_cache import RecentLatents
from .peak import check_peak

# The others wait while one client's texts are computed.
_MOST_TEXTS = 100_000
# Sets of labels whose words are looked up once; 10,000 labels take 0.3 s.
_KEPT_SETS = 16


@dataclass(frozen=True, eq=False)
class Question:
    """A client's question: a waveform, and labels or the name of a label set.

    Attributes:
        waveform: mono float32 (samples,) at the model's rate, of any length.
        labels, templates: UTF-8, one a line.
        label_set: the label set's name in UTF-8.
    """

    waveform: np.ndarray
    labels: bytes | None = None
    templates: bytes | None = None
    label_set: bytes | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """How well labels describe a waveform.

    Attributes:
        labels: the labels, in the order of the arrays.
        cosines: float32 (labels,), of the waveform's embedding with each label's.
        probabilities: float32 (labels,), their softmax; zeros for silence.
        clip_cosines: float32 (clips, labels), of each clip's embedding.
        unlearned: the labels' words that the model did not learn; None where it does not say.
    """

    labels: tuple[str, ...]
    cosines: np.ndarray
    probabilities: np.ndarray
    clip_cosines: np.ndarray
    unlearned: tuple[str, ...] | None = None


class ZeroShotService:
    """Answers questions.

    Args:
        session: the audio tower.
        embed: embeds texts with the text tower.
        label_sets: the label sets on the server.
        batch_size: how many clips to run at once.
        limits: the largest question; the defaults when left out.
        words: those that the model learned; None where that is not known.
    """

    def __init__(
        self,
        session: Session,
        embed: Embed,
        label_sets: LabelSets,
        batch_size: int,
        limits: Limits | None = None,
        words: LearnedWords | None = None,
    ) -> None:
        self._joint = require_output(session, Joint)
        self._rate_hz = session.framing.sample_rate_hz
        self._runner = Runner(session, batch_size)
        self._embed, self._label_sets = embed, label_sets
        self._limits, self._words = limits or Limits(), words
        self._looked_up: Lru[tuple[str, ...], tuple[str, ...]] = Lru(_KEPT_SETS)
        # By label and templates.
        self._recent: RecentLatents[tuple[str, tuple[str, ...]]] = RecentLatents()

    def answer(self, questions: Sequence[Question]) -> list[Answer | MuqrtError]:
        """Answer each question, or give the error of a bad one, without effect on the others.

        Errors are UsageError for labels, AudioError for a waveform, and SessionError or ServerError
        if a tower failed.
        """
        answers: dict[int, Answer | MuqrtError] = {}
        asked: list[tuple[int, LabelSet, np.ndarray]] = []
        for place, question in enumerate(questions):
            try:
                self._check_waveform(question.waveform)
                labels = self._labels(question)
                asked.append((place, labels, self._latents(labels)))
            except MuqrtError as error:
                answers[place] = error
        waveforms = [questions[place].waveform for place, _, _ in asked]
        for (place, labels, latents), clips in zip(asked, self._clips(waveforms), strict=True):
            answers[place] = self._compared(clips, labels, latents)
        return [answers[place] for place in range(len(questions))]

    def _labels(self, question: Question) -> LabelSet:
        if (question.labels is None) == (question.label_set is None):
            raise UsageError("send either labels or a label_set's name.")
        if question.label_set is not None:
            if question.templates is not None:
                raise UsageError("templates go with labels; a label_set has its own.")
            return self._label_sets.named(_decoded("label_set", question.label_set))
        assert question.labels is not None
        labels = self._lines("labels", question.labels)
        if len(labels) > self._limits.max_labels:
            raise UsageError(
                f"{len(labels)} labels; there may be {self._limits.max_labels} "
                "(limits.max_labels of muqrt repository)."
            )
        templates: Sequence[str] = TEMPLATES
        if question.templates is not None:
            templates = self._lines("templates", question.templates)
        self._check_texts(labels, templates)
        return LabelSet(tuple(labels), tuple(templates))

    def _lines(self, name: str, text: bytes) -> list[str]:
        """The lines of an input, each as long as a text may be."""
        lines, most = text.split(b"\n"), self._limits.max_text_bytes
        if (longest := max(map(len, lines))) > most:
            raise UsageError(
                f"{name}: one of {longest} bytes; there may be {most} "
                "(limits.max_text_bytes of muqrt repository)."
            )
        return _decoded(name, text).split("\n")

    def _check_texts(self, labels: Sequence[str], templates: Sequence[str]) -> None:
        """Refuse labels that make too many texts, or too much text, in their templates."""
        if len(labels) * len(templates) > _MOST_TEXTS:
            raise UsageError(
                f"{len(labels)} labels in {len(templates)} templates; there may be {_MOST_TEXTS} "
                "texts."
            )
        most = self._limits.max_question_bytes
        of_labels, of_templates = (
            sum(len(text.encode()) for text in texts) for texts in (labels, templates)
        )
        total = of_labels * len(templates) + of_templates * len(labels)
        if total > most:
            raise UsageError(
                f"the labels have {total} bytes in all their templates; there may be {most} "
                "(limits.max_question_bytes of muqrt repository)."
            )

    def _latents(self, labels: LabelSet) -> np.ndarray:
        """The labels' embeddings, float32 (labels, width), each of length one."""

        def compute(new: list[tuple[str, tuple[str, ...]]]) -> np.ndarray:
            unknown = tuple(label for label, _ in new)
            return LabelSet(unknown, labels.templates).latents(self._embed)

        keys = [(label, labels.templates) for label in labels.labels]
        return self._recent.of(keys, compute)

    def _check_waveform(self, waveform: np.ndarray) -> None:
        seconds, most = len(waveform) / self._rate_hz, self._limits.max_track_seconds
        if seconds > most:
            raise AudioError(
                f"waveform: {seconds:g} s; this model takes at most {most:g} s "
                "(limits.max_track_seconds of muqrt repository). Send it in pieces."
            )
        check_peak(waveform, "waveform")

    def _clips(self, waveforms: list[np.ndarray]) -> list[Clips | MuqrtError]:
        tracks = [Track(each, self._rate_hz, "waveform") for each in waveforms]
        try:
            results = track_clips(self._runner, tracks, "wrapped", None)
            return [clips for _, clips in results]
        except MuqrtError as error:
            return [error] * len(tracks)

    def _compared(
        self, clips: Clips | MuqrtError, labels: LabelSet, latents: np.ndarray
    ) -> Answer | MuqrtError:
        if isinstance(clips, MuqrtError):
            return clips
        cosines = unit(clips.mean) @ latents.T
        seconds = self._joint.clip_samples / self._rate_hz
        probabilities = ZeroShot(labels, self._joint.temperature, seconds).probabilities(cosines)
        if clips.silent.all():
            probabilities = np.zeros_like(probabilities)
        by_clip = clips.latents @ latents.T
        unlearned = self._unlearned(labels.labels)
        return Answer(labels.labels, cosines, probabilities, by_clip, unlearned)

    def _unlearned(self, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """The labels' words that the model did not learn; None where that is not known."""
        if self._words is None:
            return None
        found = self._looked_up.get(labels)
        if found is None:
            found = self._words.unlearned(labels)
            self._looked_up.put(labels, found)
        return found


def _decoded(name: str, text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: {error}.") from None
