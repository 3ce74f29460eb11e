"""The service behind ``zeroshot``, over towers that may fail."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from muqrt.common.words import LearnedWords
from muqrt.errors import AudioError, SessionError, UsageError
from muqrt.runtime.bundle.joint import Joint
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.session import Arrays, Description, Session
from muqrt.triton_repo.contract.label_sets import LabelSets
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.serving.zero_shot import Answer, Question, ZeroShotService

from ...framing import muq_framing

WIDTH, RATE_HZ, CLIP_SAMPLES = 4, 24_000, 2_400
FRAMING = muq_framing(CLIP_SAMPLES)
JOINT = Joint(
    width=WIDTH,
    clip_samples=CLIP_SAMPLES,
    temperature=10.0,
    tokenizer="tokenizer.json",
    tokenizer_sha256="0" * 64,
    vocabulary=9,
    max_tokens=9,
)


class Tower(Session):
    """A clip's latents are its first four samples, of length one; it can be broken."""

    def __init__(self) -> None:
        waveform = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
        super().__init__(Description([waveform], [JOINT.spec], FRAMING, meanings=explained(JOINT)))
        self.broken = False
        self.batches: list[int] = []

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        if self.broken:
            raise SessionError("the engine failed")
        first = inputs["waveform"][:, :WIDTH]
        self.batches.append(len(first))
        return {"latents": first / np.linalg.norm(first, axis=1, keepdims=True)}

    def close(self) -> None:
        pass


def embed(texts: Sequence[str]) -> np.ndarray:
    """Texts' letters, counted; those with a ``!`` cannot be embedded."""
    if any("!" in text for text in texts):
        raise SessionError("the other engine failed")
    counts = np.array([[text.count(letter) + 0.1 for letter in "abcd"] for text in texts])
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.fixture
def service(tower: Tower, tmp_path: Path) -> ZeroShotService:
    return ZeroShotService(tower, embed, LabelSets(tmp_path), batch_size=4)


def noise(clips: float, seed: int = 0) -> np.ndarray:
    samples = round(clips * CLIP_SAMPLES)
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def test_silence_has_no_probabilities(service: ZeroShotService) -> None:
    quiet = np.full(2 * CLIP_SAMPLES, 1e-5, np.float32)  # -100 dBFS
    (answer,) = service.answer([Question(quiet, b"aa\nbcd")])
    assert isinstance(answer, Answer)
    assert answer.probabilities.tolist() == [0, 0]


def test_an_answer_is_the_naive_one(service: ZeroShotService, tower: Tower) -> None:
    waveform = noise(2)
    (answer,) = service.answer([Question(waveform, b"aa\nbcd", b"{}\nsome {}")])
    assert isinstance(answer, Answer)
    clips = np.stack([waveform[start : start + WIDTH] for start in (0, CLIP_SAMPLES)])
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    labels = np.stack([embed([each, f"some {each}"]).mean(axis=0) for each in ("aa", "bcd")])
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    mean = clips.mean(axis=0)
    cosines = labels @ mean / np.linalg.norm(mean)
    np.testing.assert_allclose(answer.clip_cosines, clips @ labels.T, atol=1e-6)
    np.testing.assert_allclose(answer.cosines, cosines, atol=1e-6)
    powers = np.exp(10 * cosines)
    np.testing.assert_allclose(answer.probabilities, powers / powers.sum(), atol=1e-6)
    assert tower.batches == [2]


def test_words_that_were_not_learned(tower: Tower, tmp_path: Path) -> None:
    words = LearnedWords.of(["aa"])
    service = ZeroShotService(tower, embed, LabelSets(tmp_path), batch_size=4, words=words)
    answers = service.answer([Question(noise(1), b"aa\nbcd b"), Question(noise(1), b"aa")])
    assert [each.unlearned for each in answers if isinstance(each, Answer)] == [("bcd", "b"), ()]


def test_clips_of_several_clients_share_batches(service: ZeroShotService, tower: Tower) -> None:
    questions = [Question(noise(clips, clips), b"a\nb") for clips in (1, 2, 3)]
    together = service.answer(questions)
    assert tower.batches == [4, 2]
    for question, ours in zip(questions, together, strict=True):
        (alone,) = service.answer([question])
        assert isinstance(ours, Answer)
        assert isinstance(alone, Answer)
        np.testing.assert_allclose(ours.clip_cosines, alone.clip_cosines, atol=1e-6)


def test_what_is_wrong_with_one_does_not_concern_the_others(service: ZeroShotService) -> None:
    questions = [
        Question(noise(1), b"a"),
        Question(noise(1), b"a\na"),
        Question(noise(1) * np.float32(np.nan), b"a"),
        Question(noise(1), b"a!"),
        Question(noise(1), label_set=b"none"),
        Question(np.zeros(3_601 * RATE_HZ, np.float32), b"a"),
        Question(noise(1), b"b"),
    ]
    kinds = [type(answer) for answer in service.answer(questions)]
    wrong = [UsageError, AudioError, SessionError, UsageError, AudioError]
    assert kinds == [Answer, *wrong, Answer]


def test_an_engine_that_failed_may_work_again(service: ZeroShotService, tower: Tower) -> None:
    questions = [Question(noise(1), b"a"), Question(noise(2), b"b")]
    tower.broken = True
    assert [type(answer) for answer in service.answer(questions)] == [SessionError, SessionError]
    tower.broken = False
    assert [type(answer) for answer in service.answer(questions)] == [Answer, Answer]
    assert service.answer([]) == []


@pytest.mark.parametrize(
    ("question", "kind", "why"),
    [
        (Question(noise(21), b"a"), AudioError, r"2\.1 s; this model takes at most 2 s \(limits"),
        (Question(noise(1) * 32_768, b"a"), AudioError, "Divide 16-bit samples by 32768"),
        (Question(noise(1), b"a\nb\nc\nd\ne"), UsageError, r"5 labels; .* 4 \(limits\.max_labels"),
        (Question(noise(1), b"a\n" + b"b" * 31), UsageError, "labels: one of 31 bytes; .* 30"),
        (Question(noise(1), b"a", b"{}" + b"b" * 29), UsageError, "templates: one of 31 bytes"),
        (Question(noise(1), b"a" * 30 + b"\n" + b"b" * 30), UsageError, "bytes in all their temp"),
    ],
)
def test_what_would_cost_too_much_is_refused_before_a_tower_runs(
    tower: Tower, tmp_path: Path, question: Question, kind: type[Exception], why: str
) -> None:
    limits = Limits(max_track_seconds=2, max_labels=4, max_text_bytes=30, max_question_bytes=200)
    service = ZeroShotService(tower, embed, LabelSets(tmp_path), batch_size=4, limits=limits)
    refused, answer = service.answer([question, Question(noise(20), b"a\nb\nc\nd", b"{}")])
    assert isinstance(refused, kind)
    assert re.search(why, str(refused))
    assert isinstance(answer, Answer)
    assert sum(tower.batches) == 20
