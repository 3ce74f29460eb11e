import io

import pytest

pytest.importorskip("mido")

import mido

from muqrt.training.synth.scores.midi import read_midi
from muqrt.training.synth.scores.score import ScorePart


def midi(*messages: object, ticks: int = 480) -> bytes:
    track = mido.MidiTrack(messages)
    buffer = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=ticks, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def message(kind: str, time: int = 0, **fields: int) -> object:
    return mido.Message(kind, time=time, **fields)


def test_notes_programs_and_tempo_are_read() -> None:
    found = read_midi(
        midi(
            mido.MetaMessage("set_tempo", tempo=600_000),  # 100 a minute
            message("program_change", channel=2, program=30),
            message("control_change", channel=2, control=7, value=90),
            message("note_on", channel=2, note=40, velocity=99),
            message("note_on", channel=9, note=36, velocity=80),
            message("note_off", time=480, channel=2, note=40),
            message("note_on", time=0, channel=9, note=36, velocity=0),
        )
    )
    assert found.tempo_bpm == pytest.approx(100)
    assert set(found.parts) == {ScorePart(30, False, 90), ScorePart(0, True, 100)}
    assert [(n.start, round(n.quarters, 6), n.key) for n in found.notes] == [
        (0, 1, 36),
        (0, 1, 40),
    ] or [(n.start, round(n.quarters, 6), n.key) for n in found.notes] == [(0, 1, 40), (0, 1, 36)]


def test_a_key_that_is_struck_again_ends_the_note_before() -> None:
    on = {"channel": 0, "note": 60, "velocity": 64}
    found = read_midi(midi(message("note_on", **on), message("note_on", time=240, **on)))
    assert [(note.start, note.quarters) for note in found.notes] == [(0, 0.5)]


def test_a_tempo_that_only_counts_is_not_believed() -> None:
    fast = mido.MetaMessage("set_tempo", tempo=100_000)  # 600 a minute
    note = {"channel": 0, "note": 60}
    found = read_midi(
        midi(fast, message("note_on", velocity=64, **note), message("note_off", time=480, **note))
    )
    assert found.tempo_bpm is None
    assert found.quarters == pytest.approx(1)


def test_an_endless_file_is_refused() -> None:
    note = {"channel": 0, "note": 60}
    with pytest.raises(ValueError, match="over 1200 s"):
        read_midi(
            midi(
                message("note_on", velocity=64, **note),
                message("note_off", time=2_000_000, **note),
            )
        )
