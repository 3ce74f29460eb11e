"""All styles; those of acoustic music, as data."""

from .amplified import AMPLIFIED_STYLES
from .electronic import ELECTRONIC_STYLES
from .style import Groove, Role, Style

_WALK = Role(("acoustic bass",), ("0---w---2---w---", "0---w---w---w---"), 36, 6, "root", 0.9)
_CONTINUO = (
    "0-------2-------",
    "0---2---1---w---",
    "0-w-2-w-1-w-2-w-",
    "0---1---2---",
    "0-w-1-w-2-w-",
)

ACOUSTIC_STYLES = {
    "classical": Style(
        tempo_bpm=(58, 160),
        metres=(3, 4),
        major=("I V7 I IV I V7 I V7", "I vi IV V7", "IV I V7 I ii V7", "vi iii IV I", "V7 I V7 I"),
        minor=("i V7 i iv i V7 i V7", "i bVI iv V7", "iv i V7 i bVI V7", "bIII bVII bVI V7"),
        cadence="V7",
        looseness_s=0.012,
        lead=("piano", "harpsichord", "electric piano", "harp", "acoustic guitar", "mallets"),
        comp=Role(
            (),
            (
                "0-----1-----2---",
                "0-2-1-2-0-2-1-2-",
                "0212021202120212",
                "0---C---C---",
                "0-1-2-1-2-1-",
            ),
            55,
            -14,
        ),
        bass=None,
        pads=("string ensemble", "reed", "low strings"),
    ),
    "baroque": Style(
        tempo_bpm=(62, 138),
        metres=(3, 4),
        major=(
            "I V vi iii IV I IV V",
            "I IV viidim iii vi ii V I",
            "vi ii V I IV ii V",
            "I V I IV V",
        ),
        minor=(
            "i V bVI bIII iv i iv V",
            "i iv bVII bIII bVI iv V i",
            "bIII bVII i V iv V",
            "i V i V",
        ),
        cadence="V",
        lead=("violin", "flute", "reed", "trumpet", "harpsichord", "organ"),
        comp=Role(
            ("harpsichord", "string ensemble", "organ", "acoustic guitar"),
            (
                "C-------C-------",
                "C---C---C---C---",
                "C-0-1-2-C-0-1-2-",
                "C-----------",
                "C---C---C---",
            ),
            60,
            -12,
        ),
        bass=Role(("low strings", "acoustic bass", "organ"), _CONTINUO, 43, 0, "root"),
        pads=("string ensemble", "organ", "choir"),
    ),
    "waltz": Style(
        tempo_bpm=(84, 200),
        metres=(3,),
        major=("I I V7 V7 V7 V7 I I", "IV IV I I V7 V7 I V7", "I vi ii V7", "vi iii IV V7"),
        minor=("i i V7 V7 V7 V7 i i", "iv iv i i V7 V7 i V7", "bVI bIII bVI V7", "i iv V7 i"),
        cadence="V7",
        lead=("accordion", "violin", "reed", "piano", "trumpet", "flute"),
        comp=Role(
            ("accordion", "string ensemble", "acoustic guitar", "piano"),
            ("....C---C---", "....C...C...", "....C.C.C.C."),
            60,
            -8,
            gate=0.7,
        ),
        bass=Role(
            ("acoustic bass", "low strings", "trombone"),
            ("0-----------", "0---........"),
            40,
            6,
            "root",
        ),
        pads=("string ensemble", "brass section", "choir"),
        kits=("", "drum kit"),
        grooves=(Groove({"kick": "x...........", "hat": "....g...g..."}),),
    ),
    "march": Style(
        tempo_bpm=(78, 140),
        major=("I I V7 I IV I V7 I", "I IV V7 I", "vi II V V7", "IV IV I I II V7"),
        minor=("i i V7 i iv i V7 i", "i iv V7 i", "bIII bVII bIII V7", "iv iv i i V7 V7"),
        cadence="V7",
        lead=("trumpet", "flute", "brass section", "reed"),
        comp=Role(
            ("brass section", "trombone", "reed", "accordion"),
            ("....C.......C...", "..C...C...C...C.", "..C.C.C...C.CCC."),
            58,
            -8,
            gate=0.55,
        ),
        bass=Role(
            ("trombone", "acoustic bass", "low strings"),
            ("0---....2---....", "0---2---0---2---"),
            40,
            8,
            "root",
            0.7,
        ),
        pads=("brass section", "flute", "choir"),
        kits=("drum kit",),
        grooves=(
            Groove({"kick": "X.......X.......", "snare": "x...x...x...x.gg"}),
            Groove(
                {
                    "kick": "X...x...X...x...",
                    "snare": "x.ggx.g.x.ggxxxx",
                    "cymbal": "g.......g.......",
                }
            ),
        ),
    ),
    "swing": Style(
        tempo_bpm=(84, 220),
        swing=2 / 3,
        looseness_s=0.012,
        major=(
            "ii7 V7 Imaj7 VI7",
            "Imaj7 vi7 ii7 V7",
            "IVmaj7 iv7 Imaj7 VI7 ii7 V7",
            "III7 VI7 II7 V7",
        ),
        minor=(
            "iim7b5 V7 i7 i7",
            "i7 bVI7 iim7b5 V7",
            "iv7 bVII7 bIIImaj7 bVImaj7 iim7b5 V7",
            "iv7 i7 bVI7 V7",
        ),
        cadence="V7",
        lead=("saxophone", "trumpet", "mallets", "piano", "reed", "electric guitar"),
        comp=Role(
            ("piano", "electric guitar", "mallets", "organ"),
            ("C---------C-----", "C.....C.........", "..C...C.......C."),
            58,
            -10,
            gate=0.7,
        ),
        bass=_WALK,
        pads=("brass section", "saxophone", "string ensemble"),
        kits=("jazz kit", "drum kit"),
        grooves=(
            Groove({"ride": "x...x.x.x...x.x.", "hat": "....x.......x..."}),
            Groove(
                {
                    "ride": "x...X.x.x...X.x.",
                    "hat": "....x.......x...",
                    "kick": "g...g...g...g..g",
                    "snare": "......g......g..",
                }
            ),
        ),
    ),
    "bossa nova": Style(
        tempo_bpm=(76, 160),
        major=(
            "Imaj7 Imaj7 ii7 V7",
            "Imaj7 II7 ii7 V7",
            "IVmaj7 iv7 iii7 VI7 ii7 V7",
            "vi7 II7 ii7 V7",
        ),
        minor=(
            "i7 iv7 iim7b5 V7",
            "i7 i7 iv7 V7",
            "iv7 bVII7 bIIImaj7 bVImaj7 iim7b5 V7",
            "bVImaj7 iim7b5 V7 i7",
        ),
        cadence="V7",
        lead=("flute", "saxophone", "acoustic guitar", "electric piano", "mallets"),
        comp=Role(
            ("acoustic guitar", "electric piano", "piano", "electric guitar"),
            ("C-----C-----C---", "C--C--C---C--C--", "C..C..C.C..C..C."),
            57,
            -6,
        ),
        bass=Role(
            ("acoustic bass", "electric bass"),
            ("0-----2-2-----0-", "0-----20--2---20"),
            36,
            4,
            "root",
        ),
        pads=("string ensemble", "flute", "synth pad"),
        kits=("jazz kit", "drum kit"),
        grooves=(
            Groove({"rim": "x..x..x...x..x..", "shaker": "g.g.g.g.g.g.g.g."}),
            Groove(
                {"kick": "x..xx..xx..xx..x", "rim": "x..x..x...x..x..", "hat": "xgxgxgxgxgxgxgxg"}
            ),
        ),
    ),
    "country": Style(
        tempo_bpm=(72, 176),
        major=("I I IV I V V I V", "I IV I V", "IV IV I I II V", "vi IV I V"),
        minor=("i i iv i bVII bVII i V", "i bVII i V", "bVI bIII bVII i", "bIII bVII iv V"),
        cadence="V",
        pentatonic=True,
        lead=("violin", "banjo", "accordion", "acoustic guitar", "electric guitar"),
        comp=Role(
            ("acoustic guitar", "banjo", "piano"),
            ("0---C---2---C---", "0---C-C-2---C-C-", "0.121.120.121.12"),
            55,
            -4,
        ),
        bass=Role(
            ("acoustic bass", "electric bass"),
            ("0-------2-------", "0---....2---..w-"),
            36,
            6,
            "root",
        ),
        pads=("organ", "string ensemble", "accordion"),
        kits=("", "drum kit"),
        grooves=(
            Groove({"kick": "x.......x.......", "rim": "....x.......x..."}),
            Groove({"kick": "X.......X.......", "snare": "..g.x.g...g.x.gg"}),
        ),
    ),
}
STYLES = ACOUSTIC_STYLES | AMPLIFIED_STYLES | ELECTRONIC_STYLES
