"""Render the example clips in ``examples/audio`` from scores in the public domain.

Every note is written out below, so the clips can be rebuilt from nothing but this file and a
General MIDI soundfont::

    pip install mido        # the MIDI writer; also needed: the fluidsynth and ffmpeg programs
    python examples/render.py --soundfont FluidR3_GM.sf2 --output examples/audio

A score is a string of tokens ``NOTE[+NOTE...][/LENGTH]``: ``F#4/1.5`` is one note, ``C5+E5`` a
chord, ``36`` a MIDI key number (drums) and ``-`` a rest; a length holds until the next one and is
counted in the clip's own time unit (a quarter, eighth or sixteenth note).  ``|`` is decoration.
Timing and velocity are humanised with a seeded generator: two runs give the same audio.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mido

TICKS = 480  # MIDI ticks in one time unit
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
PEAK_DBFS = -1.0


@dataclass(frozen=True)
class Part:
    """One instrument: a GM program (from 0; None means drums) and what it plays."""

    program: int | None
    score: str
    velocity: tuple[int, int]  # at the start and at the end, linear in between
    pan: int = 64
    start: float = 0.0  # time units before the first token
    transpose: int = 0
    gate: float = 0.96  # the sounding share of a written length
    pedal: float = 0.0  # change the sustain pedal every so many units; 0: never


@dataclass(frozen=True)
class Clip:
    """A piece, its tempo and the format of its file."""

    name: str
    title: str
    tempo: float  # time units in a minute
    pulse: float  # units from one accent to the next
    phrase: float  # units in one swell of the dynamics
    rate: int
    channels: int
    codec: str  # ffmpeg options
    parts: tuple[Part, ...]
    tail: float = 1.4  # seconds after the last note


def key(name: str) -> int:
    """Return the MIDI key of a note name such as ``F#4`` (C4 is 60) or of a plain number."""
    if name.isdigit():
        return int(name)
    match = re.fullmatch(r"([A-G])([#b]?)(\d)", name)
    if match is None:
        raise ValueError(f"not a note: {name!r}")
    step, sign, octave = match.groups()
    return 12 * (int(octave) + 1) + STEPS[step] + {"#": 1, "b": -1, "": 0}[sign]


def parse(score: str) -> list[tuple[float, float, list[int]]]:
    """Return ``(onset, length, keys)`` of each token of a score; a rest has no keys."""
    notes, onset, length = [], 0.0, 1.0
    for token in score.replace("|", " ").split():
        names, slash, written = token.partition("/")
        length = float(written) if slash else length
        notes.append((onset, length, [] if names == "-" else [key(n) for n in names.split("+")]))
        onset += length
    return notes


# Bach: each bar is five keys, broken upwards, with the last three again, and all of it twice.
PRELUDE_BARS = """C4 E4 G4 C5 E5 | C4 D4 A4 D5 F5 | B3 D4 G4 D5 F5 | C4 E4 G4 C5 E5
    | C4 E4 A4 E5 A5 | C4 D4 F#4 A4 D5 | B3 D4 G4 D5 G5 | B3 C4 E4 G4 C5 | A3 C4 E4 G4 C5
    | D3 A3 D4 F#4 C5 | G3 B3 D4 G4 B4"""
PRELUDE = " ".join(
    " ".join(2 * [*bar.split(), *bar.split()[2:]]) for bar in PRELUDE_BARS.split("|")
)

# Beethoven: sixteen bars of 4/4 (unit: quarter) for four voices.
ODE = {
    "soprano": """F#4/1 F#4 G4 A4 | A4 G4 F#4 E4 | D4 D4 E4 F#4 | F#4/1.5 E4/.5 E4/2
        | F#4/1 F#4 G4 A4 | A4 G4 F#4 E4 | D4 D4 E4 F#4 | E4/1.5 D4/.5 D4/2
        | E4/1 E4 F#4 D4 | E4 F#4/.5 G4 F#4/1 D4 | E4 F#4/.5 G4 F#4/1 E4 | D4 E4 A3 F#4/2
        | F#4/1 G4 A4 | A4 G4 F#4 E4 | D4 D4 E4 F#4 | E4/1.5 D4/.5 D4/2""",
    "alto": """D4/1 D4 C#4 D4 | D4 C#4 D4 C#4 | B3 B3 C#4 D4 | D4/1.5 C#4/.5 C#4/2
        | D4/1 D4 C#4 D4 | D4 C#4 D4 C#4 | B3 B3 C#4 D4 | C#4/1.5 A3/.5 A3/2
        | C#4/1 C#4 D4 A3 | C#4 D4/.5 E4 D4/1 A3 | C#4 D4/.5 E4 C#4/1 C#4 | B3 B3 E3 C#4
        | D4 D4 C#4 D4 | D4 C#4 D4 C#4 | B3 B3 C#4 D4 | C#4/1.5 A3/.5 A3/2""",
    "tenor": """A3/1 A3 A3 A3 | A3 A3 A3 A3 | F#3 F#3 A3 A3 | A3/1.5 A3/.5 A3/2
        | A3/1 A3 A3 A3 | A3 A3 A3 A3 | G3 G3 G3 A3 | G3/1.5 F#3/.5 F#3/2
        | A3/1 A3 A3 F#3 | A3 A3 A3 F#3 | A3 A3 F#3 F#3 | F#3 G#3 C#3 G3
        | A3 A3 A3 A3 | A3 A3 A3 A3 | G3 G3 G3 A3 | G3/1.5 F#3/.5 F#3/2""",
    "bass": """D3/1 D3 E3 F#3 | F#3 E3 D3 A2 | B2 B2 A2 D3 | A2/1.5 A2/.5 A2/2
        | D3/1 D3 E3 F#3 | F#3 E3 D3 A2 | G2 G2 A2 A2 | A2/1.5 D3/.5 D3/2
        | A2/1 A2 D3 D3 | A2 A2 D3 D3 | A2 A2 A#2 A#2 | B2 E3 A2 A2
        | D3 D3 E3 F#3 | F#3 E3 D3 A2 | G2 G2 A2 A2 | A2/1.5 D3/.5 D2/2""",
}
BEAT = " 36+42/.5 42 38+42 42 36+42 36+42 38+42 42 "
FILL = " 36+42/.5 42 38+42 42 36+38/.25 38 38 38 48 48 45 43 "
CRASH = BEAT.replace("36+42/", "36+49/", 1)
CLOSE = " 36+42/.5 42 38+42 38 36+49/2 "
DRUMS = 3 * " 42/1 42 42 42 " + FILL + CRASH + 2 * BEAT + FILL + CRASH + 2 * BEAT + CLOSE


def bars_from(first: int, voice: str) -> str:
    """Return a voice of the ode from its bar ``first`` (from 1) on."""
    return "|".join(ODE[voice].split("|")[first - 1 :])


# Greensleeves: an eighth upbeat and bars 5 to 8 of the tune, 6/8 (unit: eighth).
GREENSLEEVES = """A4/1 | C5/2 D5/1 E5/1.5 F#5/.5 E5/1 | D5/2 B4/1 G4/1.5 A4/.5 B4/1
    | C5/1.5 B4/.5 A4/1 G#4/1.5 F#4/.5 G#4/1 | A4/6"""
GUITAR = "A2 E3 A3 C4 A3 E3 | G2 D3 G3 B3 G3 D3 | A2 E3 C4 E2 B2 G#3 | A2 E3 A3 C4 E4/2"

# Joplin: the introduction and the last eight bars of the first strain, 2/4 (unit: sixteenth).
RAG_RIGHT = """D5+D6/1 E5+E6 C5+C6 A4+A5/2 B4+B5/1 G4+G5/2 | D4+D5/1 E4+E5 C4+C5 A3+A4/2 B3+B4/1
    G3+G4/2 | D4/1 E4 C4 A3/2 B3/1 A3 Ab3 | G3/2 - G4+B4+D5+G5 D4/1 D#4
    | E4/1 C5/2 E4/1 C5/2 E4/1 C5/5 -/1 C5+E5+C6 D5+F5+D6 D#5+F#5+D#6
    | E5+G5+E6 C5+C6 D5+D6 E5+G5+E6/2 B4+B5/1 D5+F5+D6/2 | C5+E5+C6/6 C5+C6/1 D5+D6
    | E5+E6 C5+C6 D5+D6 E5+E6/2 C5+C6/1 D5+D6 C5+C6
    | E5+E6 C5+C6 D5+D6 E5+E6/2 C5+C6/1 D5+D6 C5+C6
    | E5+G5+E6 C5+C6 D5+D6 E5+G5+E6/2 B4+B5/1 D5+F5+D6/2 | C5+E5+C6/4 C5+E5+G5+C6/4"""
RAG_LEFT = """D4/1 E4 C4 A3/2 B3/1 G3/2 | D3/1 E3 C3 A2/2 B2/1 G2/2
    | D3/1 E3 C3 A2/2 B2/1 A2 Ab2 | G2/2 - G2+G3 -
    | C2+C3 E3+G3+C4 E2+E3 G3+Bb3+C4 | F2+F3 A3+C4 E2+E3 G3+C4
    | G2 G3+C4+E4 G2 G3+B3+F4 | C2+C3 G3+C4+E4 G2 G3+C4+E4
    | C2+C3 G3+C4+E4 Bb1+Bb2 G3+C4+E4 | A1+A2 F3+A3+C4 Ab1+Ab2 F3+Ab3+C4
    | G1+G2 G3+C4+E4 G1+G2 G3+B3+F4 | C2+C3 G2+G3 C2+C3+G3+C4/4"""

CLIPS = (
    Clip(
        name="bach_prelude_c.mp3",
        title="J. S. Bach: Prelude in C major, BWV 846, bars 1-11",
        tempo=312,
        pulse=8,
        phrase=64,
        tail=2.6,
        rate=24000,
        channels=1,
        codec="-c:a libmp3lame -b:a 32k",
        parts=(Part(0, PRELUDE, (66, 78), pedal=8),),
    ),
    Clip(
        name="ode_to_joy_band.ogg",
        title="L. van Beethoven: Ode to Joy (theme), for strings, brass and band",
        tempo=148,
        pulse=2,
        phrase=16,
        rate=48000,
        channels=2,
        codec="-c:a libvorbis -q:a 1",
        parts=(
            Part(48, ODE["soprano"], (78, 96), 44, transpose=12),
            Part(48, ODE["alto"], (68, 86), 56),
            Part(42, ODE["tenor"], (68, 86), 80),
            Part(43, ODE["bass"], (76, 92), 84),
            Part(56, bars_from(9, "soprano"), (86, 100), 72, start=32, gate=0.88),
            Part(60, bars_from(9, "alto"), (72, 84), 36, start=32, gate=0.9),
            Part(57, bars_from(9, "tenor"), (70, 84), 92, start=32, gate=0.9),
            Part(33, bars_from(5, "bass"), (88, 98), start=16, gate=0.8),
            Part(None, DRUMS, (64, 92), start=16),
        ),
    ),
    Clip(
        name="greensleeves_duo.flac",
        title="Greensleeves (traditional), for recorder and guitar",
        tempo=160,
        pulse=3,
        phrase=24,
        rate=44100,
        channels=1,
        codec="-c:a flac -compression_level 12 -sample_fmt s16",
        parts=(
            Part(74, GREENSLEEVES, (80, 86)),
            Part(24, GUITAR, (72, 78), start=1, gate=1.6),
        ),
    ),
    Clip(
        name="entertainer_rag.m4a",
        title="S. Joplin: The Entertainer (introduction and bars 13-20)",
        tempo=304,
        pulse=4,
        phrase=32,
        rate=44100,
        channels=2,
        codec="-c:a aac -b:a 64k -movflags +faststart",
        parts=(
            Part(3, RAG_RIGHT, (88, 98), 76, gate=0.9),
            Part(3, RAG_LEFT, (74, 84), 50, gate=0.8),
        ),
    ),
)


def to_midi(clip: Clip, seed: int) -> mido.MidiFile:
    """Lay a clip out as MIDI, with accents, swells, a final slowing and seeded humanisation."""
    rng = random.Random(f"{seed}/{clip.name}")
    scores = [parse(part.score) for part in clip.parts]
    end = max(p.start + s[-1][0] + s[-1][1] for p, s in zip(clip.parts, scores, strict=True))
    midi = mido.MidiFile(ticks_per_beat=TICKS)
    slowing = [(0.0, 1.0), (end - 2 * clip.pulse, 0.92), (end - clip.pulse, 0.84)]
    tempi = [
        (at, mido.MetaMessage("set_tempo", tempo=round(60e6 / clip.tempo / factor)))
        for at, factor in slowing
    ]
    last = end + clip.tail * clip.tempo * slowing[-1][1] / 60
    add_track(midi, [*tempi, (last, mido.MetaMessage("text", text=clip.title))])
    for index, (part, score) in enumerate(zip(clip.parts, scores, strict=True)):
        channel = 9 if part.program is None else index
        events = [(0.0, mido.Message("program_change", channel=channel, program=part.program or 0))]
        controls = {7: 100, 10: part.pan, 91: 20 if part.program is None else 56}
        for control, value in controls.items():
            events.append((0.0, control_change(channel, control, value)))
        for step in range(math.ceil(end / part.pedal) if part.pedal else 0):
            events.append((step * part.pedal + 0.3, control_change(channel, 64, 127)))
            release = (step + 1) * part.pedal
            events.append((release if release < end else last, control_change(channel, 64, 0)))
        for onset, length, keys in score:
            at = part.start + onset
            loud = part.velocity[0] + (part.velocity[1] - part.velocity[0]) * at / end
            loud += 5 * math.sin(math.pi * (at % clip.phrase) / clip.phrase)
            loud += 5 if at % clip.pulse == 0 else 0
            for number in keys:
                number += part.transpose
                late = max(at + rng.gauss(0, 0.005) * clip.tempo / 60, 0.0)
                velocity = min(max(round(loud + rng.gauss(0, 3)), 1), 127)
                off = late + length * part.gate
                note = {"channel": channel, "note": number}
                events.append((late, mido.Message("note_on", velocity=velocity, **note)))
                events.append((off, mido.Message("note_off", **note)))
        add_track(midi, events)
    return midi


def control_change(channel: int, control: int, value: int) -> mido.Message:
    """Return a control change."""
    return mido.Message("control_change", channel=channel, control=control, value=value)


def add_track(midi: mido.MidiFile, events: list[tuple[float, mido.Message]]) -> None:
    """Append a track of events given at absolute times in units."""
    track, now = midi.add_track(), 0
    # At one tick a note ends before it starts again.
    order = sorted(events, key=lambda e: (round(e[0] * TICKS), e[1].type == "note_on"))
    for at, message in order:
        track.append(message.copy(time=round(at * TICKS) - now))
        now = round(at * TICKS)


def render(clip: Clip, soundfont: Path, output: Path, seed: int, work: Path) -> Path:
    """Synthesise a clip, bring its peak to PEAK_DBFS, fade it out and encode it."""
    score, wav, target = work / "score.mid", work / "dry.wav", output / clip.name
    midi = to_midi(clip, seed)
    midi.save(score)
    synth_rate = clip.rate if clip.rate >= 44100 else 48000
    reverb = "-o synth.reverb.room-size=0.6 -o synth.reverb.level=0.5 -o synth.reverb.damp=0.3"
    options = f"-q -n -i -C 0 -R 1 -g 0.4 {reverb} -r {synth_rate} -T wav -O float -F".split()
    subprocess.run(["fluidsynth", *options, wav, soundfont, score], check=True)

    ffmpeg = ["ffmpeg", "-hide_banner", "-nostdin", "-y", "-i", str(wav)]
    layout = {1: "mono", 2: "stereo"}[clip.channels]
    shape = f"aresample={clip.rate},aformat=sample_fmts=flt:channel_layouts={layout}"
    stats = [*ffmpeg, "-af", f"{shape},astats=measure_perchannel=none", "-f", "null", "-"]
    found = subprocess.run(stats, check=True, capture_output=True, text=True).stderr
    gain = PEAK_DBFS - float(re.findall(r"Peak level dB: (\S+)", found)[0])
    end = midi.length
    fade = f"volume={gain:.3f}dB,afade=t=out:st={end - 1:.3f}:d=1,atrim=end={end:.3f}"
    tags = ["-metadata", f"title={clip.title}", "-metadata", "copyright=CC0-1.0"]
    exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    encode = ["-af", f"{shape},{fade}", *exact, *tags, *clip.codec.split(), str(target)]
    subprocess.run([*ffmpeg, "-v", "error", *encode], check=True)
    return target


def main() -> None:
    """Render every clip and print its size and digest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    debian = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
    parser.add_argument("--soundfont", type=Path, default=debian)
    parser.add_argument("--output", type=Path, default=Path("examples/audio"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        with tempfile.TemporaryDirectory() as work:
            path = render(clip, args.soundfont, args.output, args.seed, Path(work))
        data = path.read_bytes()
        print(f"{path}  {len(data)} bytes  sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
