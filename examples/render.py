"""Render the example clips in ``examples/audio`` from scores in the public domain.

Every note is in ``clips.toml``, so the clips can be rebuilt from these two files and a General MIDI
soundfont::

    pip install mido        # the MIDI writer; also needed: the fluidsynth and ffmpeg programs
    python examples/render.py --soundfont FluidR3_GM.sf2 --output examples/audio

A score is a string of tokens ``NOTE[+NOTE...][/LENGTH]``: ``F#4/1.5`` is one note, ``C5+E5`` a
chord, ``36`` a MIDI key number (drums) and ``-`` a rest; a length holds until the next one and is
counted in the clip's own time unit (a quarter, eighth or sixteenth note). ``|`` ends a bar.
Timing and velocity are humanised with a seeded generator: two runs give the same audio.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mido

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TICKS = 480  # MIDI ticks in one time unit
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
PEAK_DBFS = -1.0
CLIPS = Path(__file__).with_name("clips.toml")


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


def read_clips() -> list[Clip]:
    """The clips in ``clips.toml``."""
    tables = tomllib.loads(CLIPS.read_text(encoding="utf-8"))
    scores = tables["scores"]

    def part(score: str, first_bar: int = 1, program: int | None = None, **rest: Any) -> Part:
        bars = "|".join(scores[score].split("|")[first_bar - 1 :])
        return Part(program, bars, **rest)

    return [
        Clip(parts=tuple(part(**each) for each in clip.pop("parts")), **clip)
        for clip in tables["clips"]
    ]


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
    for clip in read_clips():
        with tempfile.TemporaryDirectory() as work:
            path = render(clip, args.soundfont, args.output, args.seed, Path(work))
        data = path.read_bytes()
        print(f"{path}  {len(data)} bytes  sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
