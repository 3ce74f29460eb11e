"""The styles of bands with amplifiers, as data."""

from .style import Groove, Role, Style

_BASSES = ("electric bass", "acoustic bass", "synth bass")

AMPLIFIED_STYLES = {
    "blues": Style(
        tempo_bpm=(58, 140),
        swing=2 / 3,
        looseness_s=0.012,
        major=(
            "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
            "I7 IV7 I7 I7 IV7 IV7 I7 V7",
            "IV7 IV7 I7 I7 II7 V7",
        ),
        minor=(
            "i7 i7 i7 i7 iv7 iv7 i7 i7 V7 iv7 i7 V7",
            "i7 iv7 i7 i7 iv7 iv7 i7 V7",
            "bVI7 V7 i7 i7 iv7 V7",
        ),
        cadence="V7",
        pentatonic=True,
        lead=("electric guitar", "saxophone", "accordion", "organ", "distorted guitar"),
        comp=Role(
            ("piano", "electric guitar", "organ", "acoustic guitar"),
            ("C-------C-------", "0---C-C-0---C-C-", "C-C-C-C-C-C-C-C-"),
            55,
            -8,
            gate=0.8,
        ),
        bass=Role(
            ("acoustic bass", "electric bass"),
            ("0---0---2---2---", "0-0-1-1-2-2-3-2-"),
            36,
            6,
            "root",
        ),
        pads=("organ", "brass section", "saxophone"),
        kits=("drum kit", "jazz kit"),
        grooves=(
            Groove(
                {
                    "kick": "x.......x.......",
                    "snare": "....x.......x...",
                    "ride": "x...x.x.x...x.x.",
                }
            ),
            Groove(
                {"kick": "X.....x.X.....x.", "snare": "....X.......X..g", "hat": "x.x.x.x.x.x.x.x."}
            ),
        ),
    ),
    "rock": Style(
        tempo_bpm=(84, 176),
        major=("I IV V IV", "I V vi IV", "I bVII IV I", "vi IV I V", "IV V I vi"),
        minor=("i bVII bVI bVII", "i bVI bIII bVII", "iv bVI i bVII", "bVI bVII i i"),
        cadence="V",
        pentatonic=True,
        lead=("electric guitar", "distorted guitar", "organ", "synth lead", "saxophone"),
        comp=Role(
            ("distorted guitar", "electric guitar", "organ", "piano"),
            ("C-------C-----C-", "C---C-C---C-C---", "C-C-C-C-C-C-C-C-"),
            48,
            0,
            "power",
            0.9,
        ),
        bass=Role(_BASSES, ("0-------0-----0-", "0-0-0-0-0-0-0-0-"), 35, 6, "root"),
        pads=("organ", "string ensemble", "distorted guitar"),
        kits=("drum kit",),
        grooves=(
            Groove(
                {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."}
            ),
            Groove(
                {"kick": "X..x..x.X.x...x.", "snare": "....X.......X..g", "hat": "X.x.X.x.X.x.X.x."}
            ),
        ),
    ),
    "metal": Style(
        tempo_bpm=(96, 210),
        major=("I bVII IV V", "I IV bVII V", "vi IV V I", "I V IV IV"),
        minor=("i bVI bVII i", "i i bII bVII", "iv bVI bVII V", "i bIII bVI bII"),
        cadence="V",
        pentatonic=True,
        looseness_s=0.004,
        lead=("distorted guitar", "synth lead", "violin", "electric guitar"),
        comp=Role(
            ("distorted guitar",),
            ("C-C-C-CCC-C-C-CC", "C-CCC-CCC-CCC-CC", "CCCCCCCCCCCCCCCC"),
            43,
            8,
            "power",
            0.6,
        ),
        bass=Role(
            ("electric bass", "synth bass"), ("0-0-0-0-0-0-0-0-", "0-000-000-000-00"), 33, 6, "root"
        ),
        pads=("choir", "string ensemble", "distorted guitar"),
        kits=("drum kit",),
        grooves=(
            Groove(
                {
                    "kick": "X.x.X.x.X.x.X.x.",
                    "snare": "....X.......X...",
                    "ride": "X...X...X...X...",
                }
            ),
            Groove(
                {"kick": "xxxxxxxxxxxxxxxx", "snare": "..X...X...X...X.", "hat": "X...X...X...X..."}
            ),
        ),
    ),
    "reggae": Style(
        tempo_bpm=(60, 98),
        swing=0.58,
        major=("I IV I IV", "I ii I ii", "I V vi IV", "IV I V I"),
        minor=("i iv i iv", "i bVII i bVII", "bVI bVII i i", "iv i V i"),
        cadence="V",
        lead=("organ", "trombone", "saxophone", "accordion", "trumpet"),
        comp=Role(
            ("electric guitar", "organ", "piano"),
            ("....C.......C...", "..C...C...C...C.", "..C...CC..C...CC"),
            62,
            0,
            gate=0.4,
        ),
        bass=Role(
            ("electric bass", "synth bass"),
            ("0-----0-2---....", "..0-0-2-..0-2-1-"),
            34,
            14,
            "root",
        ),
        pads=("organ", "brass section", "choir"),
        kits=("drum kit", "drum machine"),
        grooves=(
            Groove(
                {"kick": "........X.......", "rim": "........X.......", "hat": "x.x.x.x.x.x.x.x."}
            ),
            Groove(
                {"kick": "X...X...X...X...", "rim": "........X.....g.", "hat": "x.xgx.xgx.xgx.xg"}
            ),
        ),
    ),
    "ballad": Style(
        tempo_bpm=(52, 108),
        metres=(3, 4),
        major=("I V vi IV", "I iii IV V", "vi IV I V", "IV V iii vi ii V", "ii V I vi"),
        minor=("i bVI bIII bVII", "i v bVI iv", "bVI bVII i i", "iv bVII bIII V", "i iv bVI V"),
        cadence="V",
        lead=("piano", "violin", "saxophone", "acoustic guitar", "electric guitar", "reed"),
        comp=Role(
            ("piano", "acoustic guitar", "electric piano", "harp"),
            (
                "C-------C-------",
                "0-1-2-1-3-1-2-1-",
                "0121312101213121",
                "C-----------",
                "0-1-2-3-2-1-",
            ),
            57,
            -8,
        ),
        bass=Role(_BASSES, ("0---------------", "0-----0-2-------", "0-----------"), 36, 2, "root"),
        pads=("string ensemble", "synth pad", "choir"),
        kits=("drum kit", "drum machine"),
        grooves=(
            Groove(
                {"kick": "x.......x.......", "rim": "....x.......x...", "hat": "g.g.g.g.g.g.g.g."}
            ),
            Groove(
                {"kick": "X.....x.X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."}
            ),
            Groove({"kick": "x...........", "rim": "....g...x...", "hat": "g.g.g.g.g.g."}),
            Groove({"kick": "X.....x.....", "snare": "....g...X...", "hat": "x.x.x.x.x.x."}),
        ),
    ),
}
