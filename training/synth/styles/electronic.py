"""The styles of machines, as data."""

from .style import Groove, Role, Style

_FOUR_TO_THE_FLOOR = "X...X...X...X..."

ELECTRONIC_STYLES = {
    "house": Style(
        tempo_bpm=(108, 134),
        major=("I vi IV V", "IV V iii vi", "ii7 V7 Imaj7 IVmaj7", "vi IV I V"),
        minor=("i bVI bIII bVII", "i iv bVII bIII", "iv7 V7 i7 i7", "bVI bVII i i"),
        looseness_s=0.002,
        lead=("synth lead", "electric piano", "piano", "brass section", "saxophone"),
        comp=Role(
            ("piano", "organ", "synth pad", "electric guitar"),
            ("..C-..C-..C-..C-", "C--C--C---C--C--", "..C..CC...C..C.C"),
            60,
            -4,
            gate=0.8,
        ),
        bass=Role(
            ("synth bass", "electric bass"), ("..0-..0-..0-..0-", "0.30..300.30..30"), 35, 8, "root"
        ),
        pads=("string ensemble", "synth pad", "choir"),
        kits=("drum machine", "drum kit"),
        grooves=(
            Groove({"kick": _FOUR_TO_THE_FLOOR, "open": "..x...x...x...x."}),
            Groove(
                {
                    "kick": _FOUR_TO_THE_FLOOR,
                    "clap": "....X.......X...",
                    "open": "..X...X...X...X.",
                    "hat": "xgxgxgxgxgxgxgxg",
                }
            ),
        ),
    ),
    "techno": Style(
        tempo_bpm=(118, 152),
        major=("I I I I", "I I bVII bVII", "I IV I IV", "vi vi IV I"),
        minor=("i i i i", "i i bVI bVI", "i bIII i bVII", "iv iv i i"),
        looseness_s=0.001,
        pentatonic=True,
        lead=("synth lead", "bells", "synth pad", "organ"),
        comp=Role(
            ("synth lead", "synth pad", "electric piano", "mallets"),
            ("0..1..2.0..1..2.", "0.1.2.1.3.1.2.1.", "0120132101201321"),
            57,
            -8,
            gate=0.6,
        ),
        bass=Role(
            ("synth bass",),
            ("..0...0...0...0.", "..00..00..00..00", ".000.000.000.000"),
            33,
            8,
            "root",
            0.7,
        ),
        pads=("synth pad", "choir", "string ensemble"),
        kits=("drum machine",),
        grooves=(
            Groove({"kick": _FOUR_TO_THE_FLOOR, "hat": "..x...x...x...x."}),
            Groove(
                {
                    "kick": _FOUR_TO_THE_FLOOR,
                    "hat": "xxXxxxXxxxXxxxXx",
                    "clap": "....x.......x..g",
                    "tom": "...g..g....g...g",
                }
            ),
        ),
    ),
    "hip hop": Style(
        tempo_bpm=(66, 112),
        swing=0.6,
        looseness_s=0.01,
        major=("Imaj7 vi7 Imaj7 vi7", "I I IV IV", "ii7 V7 Imaj7 Imaj7", "IVmaj7 iii7 vi7 I"),
        minor=("i7 i7 bVImaj7 V7", "i i bVII bVI", "i7 iv7 i7 V7", "bVI bVII i i"),
        pentatonic=True,
        lead=("electric piano", "synth lead", "flute", "bells", "saxophone"),
        comp=Role(
            ("electric piano", "piano", "synth pad", "string ensemble", "acoustic guitar"),
            ("C-------........", "C-----C-....C---", "C--C----..C-C---"),
            56,
            -6,
        ),
        bass=Role(
            ("synth bass", "acoustic bass", "electric bass"),
            ("0-----....0---..", "0--0....0-0--0.."),
            32,
            12,
            "root",
        ),
        pads=("synth pad", "string ensemble", "choir"),
        kits=("drum machine", "drum kit"),
        grooves=(
            Groove(
                {"kick": "X.....x...X.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."}
            ),
            Groove(
                {"kick": "X..x..x..xX..x..", "clap": "....X.......X...", "hat": "xgxgx.xxxgxgxxxg"}
            ),
        ),
    ),
    "ambient": Style(
        tempo_bpm=(50, 108),
        major=("Imaj7 IVmaj7", "I Isus4 vi IV", "IVmaj7 Imaj7 ii7 Imaj7", "vi7 IVmaj7"),
        minor=("i7 bVImaj7", "i isus4 bVI iv", "iv7 i7 bVImaj7 i7", "bVImaj7 bVII"),
        looseness_s=0.02,
        pentatonic=True,
        lead=("bells", "pan flute", "synth pad", "piano", "mallets"),
        comp=Role(
            ("synth pad", "string ensemble", "choir", "organ", "harp"),
            ("C---------------", "C-------0---2---", "0-1-2-3-2-1-0-1-"),
            58,
            -6,
            gate=1.1,
        ),
        bass=Role(
            ("synth bass", "low strings", "string ensemble"),
            ("0---------------", "0-------2-------"),
            38,
            -4,
            "root",
            1.0,
        ),
        pads=("synth pad", "choir", "string ensemble"),
    ),
}
