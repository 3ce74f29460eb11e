from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("pyworld")

import pyworld

from muqrt.errors import MissingDependencyError
from muqrt.training.synth.singer import random_singer
from muqrt.training.synth.studio import speech
from muqrt.training.synth.studio.speech import SYLLABLES, Speaker, speakers, syllable
from muqrt.training.synth.studio.vocalist import Vocalist
from muqrt.training.synth.voice import Sung

RATE = 24_000


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    syllable.cache_clear()
    yield
    syllable.cache_clear()


def vocalist(women: bool = True, voices: int = 1) -> Vocalist:
    try:
        syllable(Speaker("en-us", "f1"), "la")
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    singer = random_singer(np.random.default_rng(0))
    return Vocalist(speakers(women, False)[0], singer, 1.0, 0.0, voices)


def test_a_voice_sings_the_melody() -> None:
    keys = (62, 66, 69)
    notes = [Sung(0.1 + 0.7 * i, 0.75 + 0.7 * i, key, "a") for i, key in enumerate(keys)]
    audio = vocalist().sung(np.random.default_rng(0), notes, 2.4)
    assert audio.shape == (round(2.4 * RATE),)
    assert np.isfinite(audio).all()
    hz, times = pyworld.harvest(audio, RATE)
    for note in notes:
        inside = (times > note.start + 0.2) & (times < note.end - 0.1) & (hz > 0)
        assert inside.any()
        assert 69 + 12 * np.log2(np.median(hz[inside]) / 440) == pytest.approx(note.key, abs=0.4)
    assert not np.abs(audio[: round(0.05 * RATE)]).max() > 0.05


def test_the_same_seed_sings_the_same() -> None:
    notes = [Sung(0.1, 0.9, 60, "a")]
    first, second = (
        vocalist(voices=2).sung(np.random.default_rng(3), notes, 1.0) for _ in range(2)
    )
    assert np.array_equal(first, second)


@pytest.mark.full
def test_every_speaker_says_every_syllable() -> None:
    vocalist()
    for women in (False, True):
        for held_out in (False, True):
            for speaker in speakers(women, held_out):
                for word in SYLLABLES[:4]:
                    spoken = syllable(speaker, word)
                    assert spoken.voiced.any(), (speaker.name, word)
                    assert np.isfinite(spoken.envelope).all()


def test_tests_and_training_share_no_speaker() -> None:
    for women in (False, True):
        assert not set(speakers(women, False)) & set(speakers(women, True))
        assert speakers(women, False) and speakers(women, True)


def test_without_espeak_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependencyError, match="apt-get install espeak-ng"):
        syllable(Speaker("en-us", "f1"), "la")


def test_a_voice_that_espeak_lacks_is_named() -> None:
    vocalist()
    with pytest.raises(MissingDependencyError, match=r"cannot speak as xx-none\+f1"):
        speech.syllable(Speaker("xx-none", "f1"), "la")
