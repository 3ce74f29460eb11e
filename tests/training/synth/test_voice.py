import numpy as np
import pytest

from muqrt.training.synth.clips import phrase
from muqrt.training.synth.item import HELD_OUT_SINGERS, KNOWN_SINGERS, Item, singer
from muqrt.training.synth.singer import VOWELS
from muqrt.training.synth.synthesizer import SAMPLE_RATE_HZ
from muqrt.training.synth.voice import TECHNIQUES, Sung, pitch, sing


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def fundamental(audio: np.ndarray, lowest_hz: float, highest_hz: float) -> float:
    windowed = audio * np.hanning(len(audio))
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windowed, 4 * len(audio))) ** 2)
    lags = slice(int(SAMPLE_RATE_HZ / highest_hz), int(SAMPLE_RATE_HZ / lowest_hz) + 2)
    return SAMPLE_RATE_HZ / (lags.start + int(np.argmax(correlation[lags])))


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("vowel", VOWELS)
def test_the_pitch_is_the_key(number: int, vowel: str) -> None:
    who = singer(0, number)
    key = (who.lowest + who.highest) // 2
    audio = sing(rng(), who, TECHNIQUES["straight"], [Sung(0, 1, key, vowel)], 1.0)
    hz = 440 * 2 ** ((key - 69) / 12)
    found = fundamental(audio[8000:14000].astype(float), hz / 1.4, hz * 1.4)
    assert abs(12 * np.log2(found / hz)) < 0.5


@pytest.mark.parametrize("name", TECHNIQUES)
def test_every_technique_sounds(name: str) -> None:
    for number in range(4):
        who, how = singer(0, number), TECHNIQUES[name]
        sung = phrase(rng(), who, how)
        audio = sing(rng(), who, how, sung.notes, sung.seconds)
        assert audio.dtype == np.float32
        assert len(audio) == round(sung.seconds * SAMPLE_RATE_HZ)
        assert np.isfinite(audio).all()
        assert 0.2 < np.abs(audio).max() < 3
        assert all(who.lowest <= note.key <= who.highest for note in sung.notes)
        assert np.array_equal(audio, sing(rng(), who, how, sung.notes, sung.seconds))


def test_techniques_shape_the_pitch() -> None:
    who = singer(0, 1)
    notes = [Sung(0, 2, 60, "a"), Sung(2, 4, 67, "a")]
    keys = {
        name: 69 + 12 * np.log2(pitch(rng(), who, how, notes, 800) / 440)
        for name, how in TECHNIQUES.items()
    }
    steady = slice(100, 350)
    assert np.ptp(keys["straight"][steady]) < 0.01
    assert 0.5 < np.ptp(keys["vibrato"][steady]) < 4
    assert 1.8 < np.ptp(keys["trill"][steady]) < 2.2
    assert keys["vocal fry"].max() < 40
    moving = {name: np.sum(np.abs(keys[name] - 63.5) < 3.4) for name in ("straight", "portamento")}
    assert moving["portamento"] > 3 * moving["straight"]


def test_staccato_is_detached() -> None:
    who = singer(0, 2)
    notes = [Sung(i / 2, (i + 1) / 2, 60, "a") for i in range(4)]
    silent = {}
    for name in ("straight", "staccato"):
        audio = sing(rng(), who, TECHNIQUES[name], notes, 2.0)
        level = np.sqrt(np.mean(audio[: 80 * 600].reshape(80, 600) ** 2, axis=1))
        silent[name] = np.mean(level < 0.05 * level.max())
    assert silent["staccato"] > 0.35 > silent["straight"]


def test_breath_is_noise() -> None:
    who = singer(0, 1)
    key = who.lowest + 8
    flatness = {}
    for name in ("straight", "breathy", "belt"):
        audio = sing(rng(), who, TECHNIQUES[name], [Sung(0, 1, key, "a")], 1.0)
        power = np.abs(np.fft.rfft(audio[6000:18000] * np.hanning(12000))) ** 2
        band = power[1000:2500]
        flatness[name] = np.exp(np.mean(np.log(band))) / np.mean(band)
    assert flatness["breathy"] > 3 * max(flatness["straight"], flatness["belt"])


def test_singers_differ_and_some_are_only_heard_in_tests() -> None:
    everybody = [singer(0, number) for number in range(KNOWN_SINGERS + HELD_OUT_SINGERS)]
    assert len(set(everybody)) == len(everybody) >= 20
    rows = [Item(0, "voice", index, 30).plan().row for index in range(300)]
    strangers = {f"singer-{n:02d}" for n in range(KNOWN_SINGERS, len(everybody))}
    for row in rows:
        if row["split"] == "test":
            assert ("singer" in row) != ("technique" in row)
        else:
            assert {"singer", "technique"} <= set(row)
        assert row.get("singer") not in strangers
    assert {row["technique"] for row in rows if "technique" in row} == set(TECHNIQUES)
