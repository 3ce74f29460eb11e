"""Captioned songs: which there are, which come when, and what cannot be trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from muqrt.errors import AudioError, CheckpointError, UsageError
from muqrt.reference.mulan.tokenizer import PANGRAMS, fit_tokenizer
from muqrt.training.data.caption_tokens import CAPTION_TOKENS, CaptionTokenizer
from muqrt.training.data.captioned import Captioned, CaptionedCrops, read_captioned
from muqrt.training.data.crops import Track
from muqrt.training.data.manifest import Recording


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    fit_tokenizer(PANGRAMS, 300, path)
    return path


def songs(count: int, tracks: int = 1) -> list[list[Captioned]]:
    """Each track's length is 100 times its song's number and its own."""
    return [
        [
            Captioned(
                Track(Path(f"{song}-{track}"), float(100 * song + track)),
                Recording(audio=Path(f"{song}-{track}"), captions=(f"song {song}",)),
            )
            for track in range(tracks)
        ]
        for song in range(count)
    ]


def length(track: Track, random: np.random.Generator) -> np.ndarray:
    return np.array([track.seconds], dtype=np.float32)


def crops(count: int, batch: int, tokenizer_file: Path, **more: object) -> CaptionedCrops:
    options = {"seed": 0, "read_audio": length, **more}
    tokenizer = CaptionTokenizer(tokenizer_file)
    return CaptionedCrops(songs(count, 2), batch, tokenizer=tokenizer, **options)


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (4, 4), (9, 2)])
def test_no_batch_has_a_song_twice_and_no_epoch_either(
    count: int, batch: int, tokenizer_file: Path
) -> None:
    found = crops(count, batch, tokenizer_file)
    per_epoch = count // batch * batch
    heard = [int(found[index].inputs[0]) // 100 for index in range(6 * per_epoch)]
    for first in range(0, len(heard), per_epoch):
        assert len(set(heard[first : first + per_epoch])) == per_epoch
    assert set(heard) == set(range(count))
    assert heard[:per_epoch] != heard[per_epoch : 2 * per_epoch]
    assert heard == [int(found[index].inputs[0]) // 100 for index in range(6 * per_epoch)]
    other = crops(count, batch, tokenizer_file, seed=1)
    assert heard != [int(other[index].inputs[0]) // 100 for index in range(6 * per_epoch)]


def test_all_tracks_of_a_song_come(tokenizer_file: Path) -> None:
    found = crops(2, 2, tokenizer_file)
    assert {int(found[index].inputs[0]) for index in range(60)} == {0, 1, 100, 101}


def test_what_cannot_be_heard_is_replaced_by_a_song_the_batch_has_not(tokenizer_file: Path) -> None:
    def hear(track: Track, random: np.random.Generator) -> np.ndarray:
        if track.seconds < 300:
            raise AudioError(f"{track.path}: broken")
        return length(track, random)

    found = crops(12, 3, tokenizer_file, read_audio=hear)
    items = [found[index] for index in range(24)]
    heard = [int(item.inputs[0]) // 100 for item in items]
    assert min(heard) == 3
    assert all(len(set(heard[first : first + 3])) == 3 for first in range(0, 24, 3))
    skipped = {each.path.name for item in items for each in item.skipped}
    assert skipped
    assert skipped <= {f"{song}-{track}" for song in range(3) for track in range(2)}

    def deaf(track: Track, random: np.random.Generator) -> np.ndarray:
        raise AudioError("broken")

    with pytest.raises(AudioError, match="could not be used"):
        crops(4, 2, tokenizer_file, read_audio=deaf)[0]


def test_captions_come_as_tokens_of_one_length(tokenizer_file: Path) -> None:
    _, ids, mask = crops(5, 2, tokenizer_file)[0].inputs
    assert ids.shape == mask.shape == (1, CAPTION_TOKENS)
    assert ids.dtype == mask.dtype == torch.int64
    known = int(mask.sum())
    assert ids[0, 0] == 0
    assert ids[0, known - 1] == 2
    assert mask[0, :known].all()
    assert (ids[0, known:] == 1).all()
    cut, cut_mask = CaptionTokenizer(tokenizer_file).encode("a slow song " * 200)
    assert len(cut) == CAPTION_TOKENS
    assert int(cut[-1]) == 2
    assert cut_mask.all()


def test_more_pairs_than_songs_are_refused(tokenizer_file: Path) -> None:
    with pytest.raises(UsageError, match="there are 3 songs"):
        crops(3, 4, tokenizer_file)


def test_tokenizers_of_other_encoders_are_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the text encoder only 20"):
        CaptionTokenizer(tokenizer_file, 20)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="readable"):
        CaptionTokenizer(tmp_path / "tokenizer.json")
    document = json.loads(tokenizer_file.read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary[0], vocabulary[3] = vocabulary[3], vocabulary[0]
    document["model"]["unk_id"] = 0
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({**document, "added_tokens": [], "post_processor": None})
    )
    with pytest.raises(CheckpointError, match="not a tokenizer of XLM-RoBERTa"):
        CaptionTokenizer(tmp_path / "tokenizer.json")


def manifest(corpus: Path, folder: Path, rows: list[dict[str, object]]) -> Path:
    lines = [
        json.dumps({"audio": str(corpus / f"{index}.wav"), **row}) for index, row in enumerate(rows)
    ]
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_tracks_without_a_word_are_skipped(chord_corpus: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"song": "a", "captions": ["one", "two"]},
        {"song": "a", "genre": "rock"},
        {"song": "b", "singer": "nobody"},
        {"song": "c", "tags": ["slow"]},
    ]
    found = read_captioned(manifest(chord_corpus, tmp_path, rows), 1.0)
    assert [len(song) for song in found.train] == [2, 1]
    assert [skipped.path.name for skipped in found.corpus.skipped] == ["2.wav"]
    assert "neither captions nor labels" in found.corpus.skipped[0].reason
    assert [track.path.name for track in found.corpus.train] == ["0.wav", "1.wav", "3.wav"]
    texts = found.fitting_texts(seed=0)
    assert texts[:2] == ["one", "two"]
    assert len(texts) > 10
    assert all("rock" in text or "摇滚" in text for text in texts[2:-8])
    assert texts == found.fitting_texts(seed=0)
    rows[1]["genre"] = "jazz"
    assert read_captioned(manifest(chord_corpus, tmp_path, rows), 1.0).digest != found.digest


def test_mute_corpora_and_single_songs_are_refused(chord_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="to train on no track has captions or labels"):
        read_captioned(chord_corpus, 1.0)
    rows: list[dict[str, object]] = [{"song": "a", "genre": "rock"}, {"song": "a", "genre": "pop"}]
    with pytest.raises(AudioError, match="to train on there is one song only, 'a'"):
        read_captioned(manifest(chord_corpus, tmp_path, rows), 1.0)
    rows = [{"genre": "rock", "split": "train"}] * 2 + [{"genre": "pop", "split": "valid"}]
    with pytest.raises(AudioError, match="for validation there is one song only"):
        read_captioned(manifest(chord_corpus, tmp_path, rows), 1.0)


def test_a_fitted_tokenizer_is_the_same_again(tmp_path: Path) -> None:
    texts = [
        f"{word}，有钢琴和贝斯。A {word} song, with piano." for word in ("slow", "fast", "sad")
    ]
    vocabularies = []
    for name in ("first", "second"):
        fit_tokenizer(texts, 60, tmp_path / name)
        document = json.loads((tmp_path / name).read_text(encoding="utf-8"))
        vocabularies.append([piece for piece, _ in document["model"]["vocab"]])
    assert vocabularies[0] == vocabularies[1]
    assert vocabularies[0][:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    joined = [piece for piece in vocabularies[0] if len(piece) > 1 and set(piece) & set("，。,.")]
    assert joined == []
