from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import MissingDependencyError, UsageError
from muqrt.training.synth import synthesizer as module
from muqrt.training.synth.instrument import INSTRUMENTS
from muqrt.training.synth.item import Item
from muqrt.training.synth.synthesizer import (
    SAMPLE_RATE_HZ,
    Channel,
    Note,
    Synthesizer,
    find_soundfonts,
)

PITCHED = ("piano", "flute", "string ensemble", "saxophone", "trumpet", "acoustic guitar")


def rendered(synthesizer: Synthesizer, name: str, key: int, cents: float = 0.0) -> np.ndarray:
    channel = Channel(synthesizer.palette.preset(name, False, 0.0))
    return synthesizer.render([channel], [Note(0, 0.1, 1.4, key, 100)], 1.5, cents).mean(axis=0)


def semitones_off(audio: np.ndarray, key: int) -> float:
    """Where within an octave up or down the harmonics are strongest, from the key."""
    power = np.abs(np.fft.rfft(audio[4000:] * np.hanning(len(audio) - 4000), 1 << 18))
    hz_per_bin = SAMPLE_RATE_HZ / (1 << 18)
    shifts = np.arange(-11, 11.1, 0.1)

    def strength(shift: float) -> float:
        hz = 440 * 2 ** ((key + shift - 69) / 12)
        bins = np.round(hz * np.arange(1, 7) / hz_per_bin).astype(int)
        return float(np.sum(np.sqrt(power[bins[bins < len(power)]])))

    return float(shifts[np.argmax([strength(shift) for shift in shifts])])


@pytest.mark.parametrize("name", PITCHED)
def test_a_note_has_its_pitch(synthesizer: Synthesizer, name: str) -> None:
    instrument = INSTRUMENTS[name]
    for key in range(instrument.lowest + 8, instrument.highest - 4, 7):
        assert abs(semitones_off(rendered(synthesizer, name, key), key)) < 0.5, key


def test_tuning_moves_the_pitch(synthesizer: Synthesizer) -> None:
    low, high = (rendered(synthesizer, "flute", 69, cents) for cents in (-20, 20))
    assert semitones_off(high, 69) - semitones_off(low, 69) == pytest.approx(0.4, abs=0.15)


def test_what_was_played_before_leaves_no_trace(synthesizer: Synthesizer) -> None:
    first = rendered(synthesizer, "piano", 60)
    rendered(synthesizer, "trumpet", 72, 20)
    assert np.array_equal(rendered(synthesizer, "piano", 60), first)


def test_every_instrument_sounds_over_its_whole_range(synthesizer: Synthesizer) -> None:
    for name, instrument in INSTRUMENTS.items():
        for held_out in (False, True):
            for preset in synthesizer.palette.presets(name, held_out):
                for key in (instrument.lowest, instrument.highest):
                    notes = [Note(0, 0.0, 0.2, key, 100)]
                    audio = synthesizer.render([Channel(preset)], notes, 0.25)
                    assert np.sqrt(np.mean(audio**2)) > 1e-4, (name, preset, key)


def test_excited_songs_are_louder_and_busier(synthesizer: Synthesizer) -> None:
    arousal, loudness, bustle = [], [], []
    for index in range(20):
        plan = Item(0, "song", index, 8).plan()
        audio = plan.sound(plan.rng, synthesizer, 0.0)
        frames = audio[: len(audio) // 512 * 512].reshape(-1, 512)
        spectra = np.log1p(1000 * np.abs(np.fft.rfft(frames * np.hanning(512))))
        arousal.append(plan.labels["arousal"])
        loudness.append(20 * np.log10(np.sqrt(np.mean(audio**2))))
        bustle.append(np.mean(np.maximum(np.diff(spectra, axis=0), 0)))
    assert np.corrcoef(arousal, loudness)[0, 1] > 0.3
    assert np.corrcoef(arousal, bustle)[0, 1] > 0.3


def test_a_missing_soundfont_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such soundfont"):
        find_soundfonts([tmp_path / "none.sf2"])


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"no music at all"])
def test_another_file_is_no_soundfont(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "font.sf2"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a SoundFont"):
        find_soundfonts([path])


def test_a_broken_soundfont_is_a_usage_error(synthesizer: Synthesizer, tmp_path: Path) -> None:
    path = tmp_path / "font.sf2"
    path.write_bytes(b"RIFF\x04\0\0\0sfbk")
    with pytest.raises(UsageError, match="cannot load"):
        Synthesizer([path])


def test_without_any_soundfont_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEFAULT_SOUNDFONTS", (Path("/nowhere/font.sf2"),))
    with pytest.raises(MissingDependencyError, match="apt-get install"):
        find_soundfonts([])


def test_without_fluidsynth_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fluidsynth", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        Synthesizer([])
