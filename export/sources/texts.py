"""Texts for comparing text towers with the reference and for ranking music."""

# What people ask for, in the languages of the paper, and what no tower may stumble over.
TEXTS = (
    "jazz piano",
    "rainy night saxophone",
    "a happy song",
    "a sad song",
    "Fast punk rock with distorted guitars and shouted vocals.",
    "classical genres, hopeful mood, piano",
    "A slow ballad for voice and acoustic guitar in a minor key, recorded live in a small room",
    "techno, 130 bpm, no vocals",
    "baroque harpsichord solo",
    "deep, quiet, ambient drone",
    "female opera singer",
    "children's choir with orchestra",
    "欢快的小提琴",
    "一首适合海边的小提琴曲，节奏欢快",
    "安静的钢琴独奏",
    "重金属，电吉他，快速的鼓点",
    "悲伤的中文流行歌曲，女声",
    "嘻哈音乐",
    "música de baile latina",
    "🎷🌧️🌙",
    "x",
    "",
    "drums " * 100,
)
