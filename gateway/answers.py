"""What the model says of uploaded files, as JSON documents."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from ..errors import (
    AudioError,
    BundleError,
    MissingDependencyError,
    MuqrtError,
    ServerError,
    UsageError,
)
from ..runtime.audio.damage import Damages
from ..runtime.audio.length import header_seconds
from ..runtime.audio.tracks import AudioFile
from ..runtime.bundle.joint import Joint
from ..runtime.bundle.tagging import Tagging, Vocabulary
from ..runtime.bundle.tokens import Tokenizer
from ..runtime.documents import Choice, Result, tags_document
from ..runtime.engines.session import Session, require_output
from ..runtime.inference.windows import Window
from ..runtime.model import Model
from ..runtime.text.labels import LabelSet
from ..runtime.text.zero_shot import LabelTagger
from ..triton_repo.front.asgi import RefusedError
from .limits import GatewayLimits
from .query import Range
from .texts import Texts
from .uploads import Upload

# By path; each takes further arguments from the query, of these ranges.
TASKS: Mapping[str, Mapping[str, Range]] = {
    "/v1/tags": {"threshold": (0.0, 1.0), "hop_seconds": (0.5, 600.0)},
    "/v1/embeddings": {},
    "/v1/tokens": {},
    "/v1/similarity": {},
}
# By path: what the texts are called that a request may have; they may be repeated.
TEXTS: Mapping[str, str] = {"/v1/tags": "labels", "/v1/similarity": "texts"}
# A header's length may be a guess of the decoder's.
_CERTAINLY = 2.0
_SERVER_AWAY = "the model server cannot be reached, or has no room; try again later"

_log = logging.getLogger(__name__)


class GivenUpError(Exception):
    """The answer is not waited for any more."""


@dataclass(frozen=True)
class Question:
    """A request, ready to be answered.

    Attributes:
        task: of ``TASKS``.
        uploads: its files.
        numbers: arguments from the query.
        texts: those of ``TEXTS``.
        given_up: set when the answer is not waited for any more: the work ends after its window.
    """

    task: str
    uploads: list[Upload]
    numbers: Mapping[str, float]
    texts: list[str]
    given_up: Event

    def check_is_awaited(self, count: int = 0) -> None:
        """Raise GivenUpError if the answer is not waited for any more."""
        if self.given_up.is_set():
            raise GivenUpError


class Answers:
    """Answers questions with a session. Several threads may use it.

    Args:
        session: the model's; not closed with this object.
        model_name: what answers call it.
        limits: of the audio.
        batch_size: how many windows to run at once.
        texts: embeds texts into the session's space; None where it shares one with no texts.
    """

    def __init__(
        self,
        session: Session,
        model_name: str,
        limits: GatewayLimits,
        batch_size: int = 1,
        texts: Texts | None = None,
    ) -> None:
        self.session, self.model_name, self._limits = session, model_name, limits
        self._batch_size, self._texts = batch_size, texts

    def answer(self, question: Question) -> bytes:
        """The answer's JSON.

        Raises:
            RefusedError: what is wrong with the request, its audio, or the model.
            GivenUpError: the question was given up.
        """
        answers: dict[str, Callable[[Model, Question, Damages], dict[str, Any]]] = {
            "/v1/tags": self._tags,
            "/v1/embeddings": self._embeddings,
            "/v1/tokens": self._tokens,
            "/v1/similarity": self._similarity,
        }
        damages = Damages()
        model = Model(self.session, batch_size=self._batch_size, tolerance=damages.tolerance)
        try:
            for upload in question.uploads:
                self._check_header(upload)
            document = answers[question.task](model, question, damages)
        except MuqrtError as error:
            raise refusal_of(error, question.uploads) from error
        return json.dumps({"model": self.model_name, **document}, ensure_ascii=False).encode()

    def _check_header(self, upload: Upload) -> None:
        """Refuse what is far too long before it is decoded."""
        if (header_seconds(upload.path) or 0.0) > _CERTAINLY * self._limits.audio_seconds:
            raise self._too_long()

    def _too_long(self) -> RefusedError:
        return RefusedError(
            413, f"audio may last {self._limits.audio_seconds:g} s; send it in parts"
        )

    def _watch(self, question: Question) -> Callable[[Window], None]:
        """What is called after each window."""
        framing, joint = self.session.framing, self.session.joint
        longest_steps = self._limits.audio_seconds * framing.steps_per_second
        if joint is not None:  # whose last clip is filled
            longest_steps += joint.clip_samples // framing.step_samples - 1

        def watch(window: Window) -> None:
            question.check_is_awaited()
            if window.keep.stop > longest_steps + 1:  # a last step may be incomplete
                raise self._too_long()

        return watch

    def _tags(self, model: Model, question: Question, damages: Damages) -> dict[str, Any]:
        numbers, watch, paths = question.numbers, self._watch(question), self._paths(question)
        vocabulary: Vocabulary
        found: Iterable[tuple[AudioFile, Result]]
        if question.texts:
            if "hop_seconds" in numbers:
                raise UsageError("hop_seconds is for a head's tags; labels are for clip after clip")
            tagger = self._label_tagger(question, damages)
            vocabulary, found = tagger.zero_shot, tagger.tag_files(paths, watch)
        else:
            vocabulary = require_output(self.session, Tagging)
            found = model.tag_files(paths, numbers.get("hop_seconds"), watch)
        results = [(Path(path), tags) for path, tags in found]
        document = tags_document(vocabulary, results, Choice(numbers.get("threshold")), damages)
        del document["skipped"]  # of folders
        _name(document["results"], question.uploads)
        return document

    def _label_tagger(self, question: Question, damages: Damages) -> LabelTagger:
        require_output(self.session, Joint)
        labels = LabelSet(tuple(question.texts))
        latents = labels.latents(partial(self._embedded, question))
        assert self._texts is not None  # it has embedded them
        return LabelTagger(
            self.session,
            labels,
            latents,
            self._batch_size,
            damages.tolerance,
            unlearned=self._texts.unlearned(labels.labels),
        )

    def _embedded(self, question: Question, texts: Sequence[str]) -> np.ndarray:
        if self._texts is None:
            raise BundleError("this model has no text tower")
        return self._texts.embed(texts, question.check_is_awaited)

    def _embeddings(self, model: Model, question: Question, damages: Damages) -> dict[str, Any]:
        found = model.embed_files(self._paths(question), self._watch(question))
        return {"results": _arrays("embedding", found, question.uploads, damages)}

    def _tokens(self, model: Model, question: Question, damages: Damages) -> dict[str, Any]:
        tokenizer = require_output(self.session, Tokenizer)
        found = model.tokens_files(self._paths(question), self._watch(question))
        return {
            "stages": tokenizer.stages,
            "codes": tokenizer.codes,
            "steps_per_second": self.session.framing.steps_per_second,
            "results": _arrays("tokens", found, question.uploads, damages),
        }

    def _similarity(self, model: Model, question: Question, damages: Damages) -> dict[str, Any]:
        """How alike the first file and each of the others are, and how well texts describe it."""
        if len(question.uploads) < 2 and not question.texts:
            raise UsageError(
                "two files at least are compared, or one with texts: -F audio=@a.mp3 "
                "-F audio=@b.mp3"
            )
        words: Iterable[np.ndarray] = ()
        if question.texts:
            require_output(self.session, Joint)
            words = self._embedded(question, question.texts)
        embed = model.embed_files if self.session.joint is None else model.embed_audio_files
        vectors = []
        for _, found in embed(self._paths(question), on_window=self._watch(question)):
            if isinstance(found, AudioError):
                raise found
            vectors.append(found / max(float(np.linalg.norm(found)), 1e-12))
        names = [upload.name for upload in question.uploads]
        others = zip(names[1:], vectors[1:], strict=True)
        return {
            "audio": names[0],
            "results": [
                {"audio": name, "cosine": float(np.dot(vectors[0], vector))}
                | damages.facts(upload.path)
                for (name, vector), upload in zip(others, question.uploads[1:], strict=True)
            ]
            + [
                {"text": text, "cosine": float(np.dot(vectors[0], vector))}
                for text, vector in zip(question.texts, words, strict=True)
            ],
        }

    @staticmethod
    def _paths(question: Question) -> list[AudioFile]:
        return [upload.path for upload in question.uploads]


def _arrays(
    key: str,
    found: Iterable[tuple[Any, np.ndarray | AudioError]],
    uploads: list[Upload],
    damages: Damages,
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for path, value in found:
        fact = {"error": str(value)} if isinstance(value, AudioError) else {key: value.tolist()}
        results.append({"audio": str(path), **fact, **damages.facts(path)})
    _name(results, uploads)
    return results


def _name(results: list[dict[str, Any]], uploads: list[Upload]) -> None:
    """Call the files as the client does; raise AudioError if none of them could be used."""
    for result, upload in zip(results, uploads, strict=True):
        result["audio"] = upload.name
        if "error" in result:
            result["error"] = result["error"].replace(str(upload.path), upload.name)
    if all("error" in result for result in results):
        raise AudioError(" ".join(result["error"] for result in results))


def refusal_of(error: MuqrtError, uploads: list[Upload]) -> RefusedError:
    """An error as the client is told it."""
    reason = str(error)
    for upload in uploads:
        reason = reason.replace(str(upload.path), upload.name)
    if isinstance(error, AudioError):
        return RefusedError(422, reason)
    if isinstance(error, UsageError):
        return RefusedError(400, reason)
    if isinstance(error, BundleError):
        return RefusedError(404, f"{reason.partition('. ')[0].rstrip('.')}.")
    if isinstance(error, MissingDependencyError):
        return RefusedError(415, "this gateway has no decoder for such audio; send wav or mp3")
    _log.warning("%s", error)
    if isinstance(error, ServerError):
        return RefusedError(503, _SERVER_AWAY)
    return RefusedError(500, "the model failed on this audio")
