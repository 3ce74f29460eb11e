import numpy as np
import pytest

pytest.importorskip("scipy")

from muqrt.training.synth.effects.amplifier import Amplifier
from muqrt.training.synth.effects.compressor import Compressor
from muqrt.training.synth.effects.equaliser import Band, equalised, tilted
from muqrt.training.synth.effects.level import limited, loudness, mastered, rms
from muqrt.training.synth.effects.room import Room
from muqrt.training.synth.effects.tape import Tape

RATE = 24_000


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def share_at(audio: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    middle = round(hz * len(audio) / RATE)
    return float(power[middle - 3 : middle + 4].sum() / power.sum())


def test_much_gain_makes_overtones_and_keeps_the_level() -> None:
    rng = np.random.default_rng(0)
    clean = tone(220)
    driven = Amplifier.sample(rng, (40, 40)).amplified(clean)
    assert share_at(driven, 660) > 0.01 > share_at(clean, 660)
    assert rms(driven) == pytest.approx(rms(clean), rel=1e-6)


def test_an_amplifier_leaves_silence_silent() -> None:
    amplifier = Amplifier.sample(np.random.default_rng(0), (40, 40))
    assert not amplifier.amplified(np.zeros(RATE)).any()


def test_a_bell_lifts_its_centre_by_its_gain() -> None:
    for hz, expected in ((1000, 6.0), (60, 0.0)):
        lifted = equalised(tone(hz), [Band(1000, 6, 2)])[RATE // 2 :]
        gain = 20 * np.log10(rms(lifted) / rms(tone(hz)))
        assert gain == pytest.approx(expected, abs=0.2)


def test_a_tilt_lifts_the_treble() -> None:
    low, high = (rms(tilted(tone(hz), 6.0)) / rms(tone(hz)) for hz in (50, 8000))
    assert 20 * np.log10(high / low) == pytest.approx(6.0, abs=0.7)  # one pole, a gentle slope


def test_a_compressor_narrows_the_dynamics() -> None:
    loud_then_soft = np.concatenate([tone(440), tone(440) * 0.1])
    out = Compressor(-6, 8, 0.005, 0.1).compressed(loud_then_soft)
    half = len(out) // 2
    before, after = (rms(x[:half]) / rms(x[half:]) for x in (loud_then_soft, out))
    assert after < 0.6 * before


def test_no_peak_passes_the_limiter() -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(RATE) * rng.uniform(0, 2, RATE)
    assert np.abs(limited(audio, 0.8)).max() <= 0.8 + 1e-12
    quiet = audio / np.abs(audio).max() * 0.5
    assert np.allclose(limited(quiet, 0.8), quiet)


def test_a_room_rings_on_as_long_as_it_says() -> None:
    response = Room(1.0, 0.3, 0.01).response(np.random.default_rng(0))
    early, late = (rms(response[round(t * RATE) : round((t + 0.1) * RATE)]) for t in (0.1, 0.6))
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=6)


def test_a_tape_keeps_pitch_and_level_and_hisses() -> None:
    rng = np.random.default_rng(0)
    played = Tape(0.2, 1.0, 0.001, 8.0, 0.0003, 9000, -40).played(rng, tone(440))
    assert rms(played) == pytest.approx(rms(tone(440)), rel=0.1)
    assert share_at(played, 440) > 0.9
    silence = Tape(0.2, 1.0, 0.001, 8.0, 0.0003, 9000, -40).played(rng, np.zeros(RATE))
    assert np.isfinite(silence).all()


def test_a_mix_is_as_loud_as_wanted() -> None:
    pytest.importorskip("pyloudnorm")
    noise = np.random.default_rng(0).standard_normal(4 * RATE) * 0.02
    for lufs in (-24.0, -12.0):
        assert loudness(mastered(noise, lufs, 0.9)) == pytest.approx(lufs, abs=0.5)
    assert loudness(np.zeros(RATE)) == float("-inf")
    assert not mastered(np.zeros(RATE), -12, 0.9).any()


@pytest.mark.parametrize("number", [0, *(pytest.param(i, marks=pytest.mark.full) for i in (1, 2))])
def test_a_codec_keeps_length_and_time(number: int) -> None:
    pytest.importorskip("av")
    from muqrt.training.synth.effects.lossy import CODECS, round_trip

    codec = CODECS[number]
    rng = np.random.default_rng(0)
    audio = tone(440) * np.repeat(rng.uniform(0.2, 1, 20), RATE // 10)
    out = round_trip(audio, codec, codec.kilobits[-1])
    assert len(out) == len(audio)
    assert np.corrcoef(audio[RATE // 4 : -RATE // 4], out[RATE // 4 : -RATE // 4])[0, 1] > 0.95
    assert np.array_equal(out, round_trip(audio, codec, codec.kilobits[-1]))
    assert not np.array_equal(out, audio)
