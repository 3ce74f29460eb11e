"""Tokens do not depend on how a track is cut, and a bundle's are those that its tokenizer says."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from muqrt.errors import AudioError, BundleError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tokens import TOKENS_FILE, Tokenizer
from muqrt.runtime.engines.session import Arrays, Description, Session
from muqrt.runtime.inference.windows import WindowingConfig
from muqrt.runtime.load import load, open_bundle
from muqrt.runtime.model import Model

from ...framing import muq_framing

RATE_HZ, STEP = 24_000, 960
WINDOW = 2 * RATE_HZ
SHA256 = "0" * 64
LENGTHS = [
    1_025,
    STEP * 2 - 1,
    WINDOW - 1,
    WINDOW,
    WINDOW + 1,
    WINDOW + STEP,
    2 * WINDOW - 4 * STEP + 1,
    123_457,
    5 * WINDOW + 777,
]


@pytest.fixture(scope="module")
def session(token_bundle: Path) -> Iterator[Session]:
    """Of a bundle with windows of 2 s."""
    with open_bundle(token_bundle, threads=1) as opened:
        shorter = {"window_samples": WINDOW}
        opened.framing = opened.framing.model_copy(update=shorter)
        yield opened


@pytest.fixture(scope="module")
def song(music: Path) -> np.ndarray:
    return audio.load(music / "greensleeves_duo.flac")


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("samples", LENGTHS)
def test_windows_give_the_tokens_of_the_whole_track(
    session: Session, song: np.ndarray, samples: int, batch_size: int
) -> None:
    track = song[:samples]
    whole = session.run({"waveform": track[None]}, ["tokens"])["tokens"][0]
    found = Model(session, batch_size=batch_size).tokens(track, RATE_HZ)
    assert found.dtype == np.int32
    assert found.shape == (8, samples // STEP)
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("overlap_steps", [0, 2])
def test_less_context_gives_other_tokens(
    session: Session, song: np.ndarray, overlap_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Model(session).tokens(song, RATE_HZ)
    narrow = WindowingConfig(session.framing, overlap_steps, whole_steps=True)
    monkeypatch.setattr(WindowingConfig, "mel_tokens", lambda framing: narrow)
    assert (Model(session).tokens(song, RATE_HZ) != expected).any()


def test_lists_and_files(token_bundle: Path, music: Path, tmp_path: Path) -> None:
    songs = sorted(path for path in music.iterdir() if path.suffix in (".flac", ".mp3"))
    (tmp_path / "bad.wav").write_text("not audio")
    with load(token_bundle, threads=1) as model:
        one, two = model.tokens(songs)
        np.testing.assert_array_equal(one, model.tokens(songs[0]))
        results = list(model.tokens_files([songs[0], tmp_path / "bad.wav", songs[1]]))
    np.testing.assert_array_equal(results[0][1], one)
    assert isinstance(results[1][1], AudioError)
    np.testing.assert_array_equal(results[2][1], two)


class LatentSession(Session):
    """Its tokens are of a hidden state that sees one step at a time."""

    def __init__(self) -> None:
        tokenizer = Tokenizer(stages=2, codes=100, level=3, rvq_sha256=SHA256)
        framing = muq_framing(WINDOW)
        waveform = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
        super().__init__(
            Description([waveform], [tokenizer.spec], framing, meanings=explained(tokenizer))
        )

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        waveform = inputs["waveform"]
        steps = -(-(waveform.shape[1] // 240) // 4)
        padded = np.pad(waveform, ((0, 0), (0, STEP)))[:, : steps * STEP]
        mean = padded.reshape(len(waveform), steps, STEP).mean(-1)
        tokens = np.stack([mean * 100, mean * 10], 1).astype(np.int32)
        return {"tokens": tokens}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("samples", LENGTHS)
def test_tokens_of_a_hidden_state_are_stitched_as_features_are(samples: int) -> None:
    session = LatentSession()
    track = np.linspace(0, 1, samples, dtype=np.float32)
    (whole,) = session.run({"waveform": track[None]})["tokens"]
    found = Model(session, overlap_seconds=1.0).tokens(track, RATE_HZ)
    assert found.shape == (2, -(-(samples // 240) // 4))
    np.testing.assert_array_equal(found, whole)


def test_a_model_without_tokens_says_so(tiny_bundle: Path, song: np.ndarray) -> None:
    with load(tiny_bundle) as model, pytest.raises(BundleError, match="--outputs embedding,tokens"):
        model.tokens(song, RATE_HZ)


@pytest.mark.parametrize(("codes", "dtype"), [(1024, "int16"), (2**15, "int16"), (40_000, "int32")])
def test_files_hold_what_the_codes_need(codes: int, dtype: str) -> None:
    assert Tokenizer(stages=8, codes=codes, rvq_sha256=SHA256).file_dtype == dtype


@pytest.mark.parametrize(
    "fields", [{"codes": 2**31}, {"codes": 0}, {"stages": 0}, {"level": -1}, {"rvq_sha256": "x"}]
)
def test_tokenizers_that_make_no_sense(fields: dict[str, Any]) -> None:
    good = {"stages": 8, "codes": 1024, "rvq_sha256": SHA256}
    with pytest.raises(ValidationError):
        Tokenizer(**{**good, **fields})


@pytest.fixture
def edited(token_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """The bundle's manifest with a change, in a folder of its own."""

    def edit(change: Callable[[dict[str, Any]], object]) -> Path:
        document = json.loads((token_bundle / "bundle.json").read_text())
        change(document)
        (tmp_path / "bundle.json").write_text(json.dumps(document))
        return tmp_path

    return edit


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["tokenizer"].update(stages=7),
        lambda document: document["tokenizer"].update(level=3),
        lambda document: document.update(tokenizer=None),
        lambda document: document["artefacts"][0]["outputs"][-1].update(dtype="int64"),
    ],
)
def test_outputs_that_are_not_the_tokenizers(
    edited: Callable[..., Path], change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(BundleError, match=r"outputs 'tokens' are .* by the tokenizer"):
        load_bundle(edited(change))


@pytest.mark.parametrize("fields", [{"codes": 512}, {"rvq_sha256": "1" * 64}])
def test_a_changed_tokenizer_undoes_the_certificate(
    edited: Callable[..., Path], fields: dict[str, Any]
) -> None:
    assert load_bundle(edited(lambda document: None)).artefact().certified
    folder = edited(lambda document: document["tokenizer"].update(fields))
    with pytest.raises(BundleError, match="no passing parity certificate"):
        load_bundle(folder).artefact()


def test_an_artefact_without_the_tokens_is_not_the_one_that_was_certified(
    edited: Callable[..., Path],
) -> None:
    folder = edited(lambda document: document["artefacts"][0]["outputs"].pop())
    with pytest.raises(BundleError, match="no passing parity certificate"):
        load_bundle(folder).artefact()


def test_the_tokens_own_graph_is_hashed_too(
    token_bundle: Path, edited: Callable[..., Path]
) -> None:
    folder = edited(lambda document: None)
    bundle = load_bundle(folder)
    for name in bundle.artefact().files:
        (folder / name).write_bytes((token_bundle / name).read_bytes())
    bundle.verify(bundle.artefact())
    (folder / TOKENS_FILE).write_bytes(b"another graph")
    with pytest.raises(BundleError, match=f"{TOKENS_FILE} has changed"):
        load(folder)
