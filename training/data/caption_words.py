"""Words that captions are made of, by what they say, each with its Chinese."""

GENRES = {
    "ambient": "氛围",
    "ballad": "抒情",
    "baroque": "巴洛克",
    "blues": "布鲁斯",
    "bossa nova": "波萨诺瓦",
    "classical": "古典",
    "country": "乡村",
    "disco": "迪斯科",
    "electronic": "电子",
    "folk": "民谣",
    "hip hop": "嘻哈",
    "hiphop": "嘻哈",
    "house": "浩室",
    "jazz": "爵士",
    "march": "进行曲",
    "metal": "金属",
    "pop": "流行",
    "reggae": "雷鬼",
    "rock": "摇滚",
    "swing": "摇摆",
    "techno": "科技舞曲",
    "waltz": "华尔兹",
}
# Adjectives of a song.
QUALITIES = {
    "calm": "平静",
    "energetic": "激烈",
    "happy": "欢快",
    "instrumental": "纯器乐",
    "peaceful": "安宁",
    "sad": "悲伤",
    "tense": "紧张",
}
# Instruments and voices in it.
SOUNDS = {
    "accordion": "手风琴",
    "acoustic bass": "低音提琴",
    "acoustic guitar": "木吉他",
    "banjo": "班卓琴",
    "bass": "贝斯",
    "bells": "钟琴",
    "brass": "铜管",
    "brass section": "铜管组",
    "cello": "大提琴",
    "choir": "合唱",
    "distorted guitar": "失真吉他",
    "drum machine": "鼓机",
    "drums": "鼓",
    "electric bass": "电贝斯",
    "electric guitar": "电吉他",
    "electric piano": "电钢琴",
    "flute": "长笛",
    "guitar": "吉他",
    "harp": "竖琴",
    "harpsichord": "羽管键琴",
    "low strings": "低音弦乐",
    "mallets": "槌击乐器",
    "organ": "管风琴",
    "pan flute": "排箫",
    "piano": "钢琴",
    "reed": "簧管",
    "saxophone": "萨克斯",
    "string ensemble": "弦乐合奏",
    "strings": "弦乐",
    "synth": "合成器",
    "synth bass": "合成贝斯",
    "synth lead": "合成主音",
    "synth pad": "合成铺底",
    "trombone": "长号",
    "trumpet": "小号",
    "violin": "小提琴",
    "vocals": "人声",
    "woodwind": "木管",
}
TEMPOS = {"slow": "缓慢", "moderate": "中速", "fast": "快速"}
MODES = {"major": "大调", "minor": "小调"}
METRES = {"triple metre": "三拍子"}
TECHNIQUES = {
    "belt": "强声",
    "breathy": "气声",
    "messa di voce": "渐强渐弱",
    "portamento": "滑音",
    "staccato": "断音",
    "straight": "直声",
    "trill": "颤音",
    "vibrato": "揉音",
    "vocal fry": "气泡音",
}
_ACCIDENTALS = {"#": "升", "b": "降", "": ""}


def chinese_key(key: str) -> str:
    """ "F# minor" -> "升F小调"; a key that is written otherwise stays as it is."""
    tonic, _, mode = key.partition(" ")
    if tonic[:1] not in set("ABCDEFG") or tonic[1:] not in _ACCIDENTALS or mode not in MODES:
        return key
    return _ACCIDENTALS[tonic[1:]] + tonic[0] + MODES[mode]
