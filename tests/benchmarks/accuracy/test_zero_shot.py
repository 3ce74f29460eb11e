"""Zero-shot tagging and retrieval: right when the towers are, honest when they are not."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from muqrt.benchmarks.accuracy.contenders import Contender, contenders
from muqrt.benchmarks.accuracy.evaluation import Evaluation
from muqrt.benchmarks.accuracy.evaluation import evaluate as probe
from muqrt.benchmarks.accuracy.request import Wanted
from muqrt.benchmarks.accuracy.towers import ReferenceTowers, SessionTowers, untrained_towers
from muqrt.benchmarks.accuracy.zero_shot import evaluate_zero_shot
from muqrt.benchmarks.accuracy.zero_shot_tasks import zero_shot_tasks
from muqrt.cli.bench.evaluate import commands
from muqrt.errors import AudioError, BundleError, UsageError
from muqrt.export.sources.checkpoint import JointCheckpoint, load_source
from muqrt.reference.head import pooled
from muqrt.runtime.audio import read as audio
from muqrt.runtime.load import load
from muqrt.training.data.manifest import Recording, read_recordings
from muqrt.training.probe.features import Encoder

from .command import evaluate, refused, rows_of, write_rows

BOTH = ("--task", "zeroshot-tagging", "--task", "retrieval")


class Knowing:
    """Towers that know the tone, of the corpus' two, that a song ends with, and its name."""

    audio_identity = text_identity = "knowing"

    def __init__(self) -> None:
        self.heard = 0

    def embed_audio(self, waveform: np.ndarray) -> np.ndarray:
        self.heard += 1
        end = waveform[-24_000:]
        crossings = np.count_nonzero(np.diff(np.sign(end)))
        return np.array([0.2, 0.0] if crossings > 2000 else [0.0, 0.2], np.float32)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1, 0] if "high" in text else [0, 1] for text in texts], np.float32)


def judged(
    towers: Any, labelled: Path, cache: Path, names: Sequence[str]
) -> tuple[Evaluation, dict[str, dict[str, list[float]]]]:
    done = Evaluation([], [], [])
    contender = Contender("knowing", nullcontext, {}, [lambda: nullcontext(towers)])
    tasks = zero_shot_tasks(read_recordings(labelled), names)
    evaluate_zero_shot(done, [contender], tasks, cache)
    return done, {each.task: each.metrics for each in done.results}


def test_who_knows_the_tags_is_right(labelled: Path, tmp_path: Path) -> None:
    done, found = judged(Knowing(), labelled, tmp_path, ["zeroshot-tagging"])
    assert found == {"zeroshot-tagging": {"ROC-AUC": [1.0], "average precision": [1.0]}}
    (result,) = done.results
    assert (result.labels, result.tracks) == (2, {"train": 0, "valid": 0, "test": 8})
    assert {each["answer"][each["tags"][0]] for each in done.predictions} == {1.0}


def test_a_shared_text_is_one_query_that_any_of_its_songs_answers(
    labelled: Path, tmp_path: Path
) -> None:
    done, found = judged(Knowing(), labelled, tmp_path, ["retrieval"])
    # "ends high" and "ends low" find theirs at once. "song 1" and such are taken for low ones: of
    # 8 songs, 4 stand before or beside its own when that is low, and all 8 when it is high.
    ranks = {each["text"]: each["rank"] for each in done.predictions}
    expected = {"ends high": 1, "ends low": 1, **{f"song {i}": 8 if i % 2 else 4 for i in range(8)}}
    assert ranks == expected
    measured = found["retrieval"]
    assert measured["text to music, R@1"] == [2 / 10]
    assert measured["text to music, R@10"] == [1.0]
    assert measured["text to music, median rank"] == [4.0]
    # A high song's "ends high" stands alone; a low one's "ends low" ties with 8 other texts, of
    # which 7 are wrong, one being its own.
    assert measured["music to text, R@1"] == [0.5]
    assert measured["music to text, median rank"] == [(1 + 8) / 2]


def test_without_captions_labels_are_listed() -> None:
    songs = [
        Recording(audio=Path("a.wav"), song="a", split="test", tags=["drums", "sad"]),
        Recording(audio=Path("b.wav"), song="b", split="test"),
    ]
    (task,) = zero_shot_tasks(songs, ["retrieval"])
    assert [each.captions for each in task.recordings] == [("drums, sad", "鼓、悲伤")]
    told = songs[1].model_copy(update={"captions": ("no drums",)})
    (task,) = zero_shot_tasks([songs[0], told], ["retrieval"])
    assert [each.captions for each in task.recordings] == [("no drums",)]


def test_without_a_probe_no_engine_is_started_for_one(tmp_path: Path) -> None:
    def start() -> AbstractContextManager[Encoder]:
        raise AssertionError("started")

    assert probe([Contender("x", start, {})], {}, tmp_path, 1) == Evaluation([], [], [])


def test_nothing_is_heard_twice(labelled: Path, tmp_path: Path) -> None:
    towers = Knowing()
    first, _ = judged(towers, labelled, tmp_path, ["retrieval", "zeroshot-tagging"])
    assert towers.heard == 8
    for path in list(tmp_path.rglob("*.npy"))[:2]:
        path.write_bytes(b"damaged")
    second, _ = judged(towers, labelled, tmp_path, ["retrieval", "zeroshot-tagging"])
    assert towers.heard == 10
    assert second.results == first.results


@pytest.fixture(scope="module")
def report(
    mulan_bundle: Path,
    mulan_checkpoint: Path,
    labelled: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The JSON for a bundle, its checkpoint, and two sets of initial weights."""
    folder = tmp_path_factory.mktemp("zero-shot")
    who = (mulan_bundle, labelled, "--checkpoint", mulan_checkpoint, "--baseline", "untrained")
    options = (*BOTH, "--seeds", 2, "--cache", folder / "cache", "-o", folder, "--predictions")
    result = evaluate(*who, *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((folder / "accuracy.json").read_text())
    found["page"] = (folder / "accuracy.md").read_text()
    found["png"] = (folder / "accuracy.png").read_bytes()[:4]
    return found


def naive(bundle: Path, recordings: Sequence[Recording]) -> dict[str, float]:
    """The bundle's figures by loops over pairs."""
    with load(bundle, threads=1) as model:
        music = [model.embed_audio(each.audio) for each in recordings]
        cosine: dict[tuple[int, str], float] = {}
        for text in {text for each in recordings for text in each.captions or ()}:
            (words,) = model.embed_text([text])
            for index, song in enumerate(music):
                cosine[index, text] = float(song @ words / np.linalg.norm(song))
    ranks = []
    for text in {text for _, text in cosine}:
        mine = max(cosine[i, text] for i, each in enumerate(recordings) if text in each.captions)
        ranks.append(
            1
            + sum(
                text not in (each.captions or ()) and cosine[i, text] >= mine
                for i, each in enumerate(recordings)
            )
        )
    return {
        "text to music, R@1": float(np.mean([rank <= 1 for rank in ranks])),
        "text to music, median rank": float(np.median(ranks)),
    }


def test_a_bundles_figures_are_those_of_its_api(
    report: dict[str, Any], mulan_bundle: Path, labelled: Path
) -> None:
    found = {(each["contender"], each["task"]): each["metrics"] for each in report["results"]}
    measured = found[f"{mulan_bundle.name}/onnx-fp32", "retrieval"]
    test = [each for each in read_recordings(labelled) if each.split == "test"]
    for name, value in naive(mulan_bundle, test).items():
        assert measured[name]["seeds"] == [value], name


def test_the_report_compares_everyone(
    report: dict[str, Any], mulan_bundle: Path, mulan_checkpoint: Path
) -> None:
    ours = f"{mulan_bundle.name}/onnx-fp32"
    reference = f"{mulan_checkpoint.parent.name} in PyTorch"
    untrained = f"{mulan_checkpoint.parent.name}, untrained"
    names = [ours, reference, untrained]
    assert list(report["contenders"]) == names
    assert len(report["results"]) == 2 * 3
    seeds = {each["contender"]: each["metrics"] for each in report["results"]}
    counts = [len(seeds[name]["text to music, R@1"]["seeds"]) for name in names]
    assert counts == [1, 1, 2]
    facts = report["contenders"][ours]
    assert facts["text_artefact"] == "text-fp32"
    assert len(facts["text_artefact_sha256"]) == 64
    assert report["png"] == b"\x89PNG"
    medians = [seeds[name]["text to music, median rank"] for name in names]
    row = [f"{medians[0]['mean']:.1f}", f"{medians[1]['mean']:.1f}"]
    row.append(f"{medians[2]['mean']:.1f} ± {medians[2]['deviation']:.1f}")
    assert f"| retrieval: text to music, median rank | 8 | {' | '.join(row)} |" in report["page"]
    assert "wrong ones with the same score" in report["page"]
    assert "A head is fitted" not in report["page"]


def test_all_towers_are_the_same_model(
    mulan_bundle: Path, mulan_checkpoint: Path, music: Path
) -> None:
    checkpoint = load_source(mulan_checkpoint)
    assert isinstance(checkpoint, JointCheckpoint)
    samples = audio.load(music / "greensleeves_duo.flac")[: 24_000 * 11]
    texts = ["piano", "a slow song", "钢琴"]
    with load(mulan_bundle, threads=1) as model:
        deployed = SessionTowers(model.session, model.texts)
        reference = ReferenceTowers(checkpoint)
        for ours, theirs in (
            (deployed.embed_audio(samples), reference.embed_audio(samples)),
            (deployed.embed_texts(texts), reference.embed_texts(texts)),
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    before = torch.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        with untrained_towers(checkpoint, seed) as towers:
            drawn.append((towers.audio_identity, towers.embed_texts(texts)))
    assert torch.equal(before, torch.get_rng_state())
    assert drawn[0][0] == drawn[1][0] != drawn[2][0]
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    assert np.abs(drawn[0][1] - drawn[2][1]).max() > 0.01
    assert np.abs(drawn[0][1] - reference.embed_texts(texts)).max() > 0.01


def test_a_checkpoint_can_be_probed_too(tiny_checkpoint: Path) -> None:
    name = str(tiny_checkpoint)
    trained, untrained = contenders(Wanted(checkpoints=[name], baselines=["untrained"]))
    assert not trained.towers
    assert not untrained.towers
    waveforms = np.random.default_rng(0).normal(size=(2, 24_000)).astype(np.float32) / 10
    with trained.open() as encoder, untrained.open() as before:
        found, other = encoder(waveforms, 1), before(waveforms, 1)
        assert encoder.identity != before.identity
    assert found.shape == other.shape
    with torch.no_grad():
        states = load_source(name).model(torch.from_numpy(waveforms)).hidden_states
    expected = torch.stack([pooled(state) for state in states], 1)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - other).max() > 0.01


def test_checkpoints_of_one_architecture_were_the_same_before(
    mulan_checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(mulan_checkpoint, tmp_path / "again")
    names = [str(mulan_checkpoint), str(again), str(tiny_checkpoint)]
    found = contenders(Wanted(checkpoints=names[:2], baselines=["untrained"], seeds=3))
    run = mulan_checkpoint.parent.name  # as training has it: RUN/checkpoint
    assert [each.name for each in found[2:]] == [f"{run}, untrained"]
    assert len(found[2].towers) == 3
    others = contenders(Wanted(checkpoints=names[1:], baselines=["untrained"]))
    assert [each.name for each in others[2:]] == [
        "again, untrained",
        f"{tiny_checkpoint.parent.name}, untrained",
    ]


def test_magnatagatune_from_its_own_files(mulan_bundle: Path, tmp_path: Path) -> None:
    tags = [f"tag {index}" for index in range(52)]
    lines = ["\t".join(["clip_id", *tags, "mp3_path"])]
    for clip in range(8):
        path = Path("0cdf"[clip % 4]) / f"band-album-01-song{clip}-0-29.mp3"
        present = ["1" if (clip // 2 + index) % 3 and index < 50 else "0" for index in range(52)]
        lines.append("\t".join([str(clip), *present, path.as_posix()]))
        (tmp_path / path).parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(clip).normal(size=12_000) / 10
        soundfile.write(tmp_path / path, noise, 24_000, format="MP3")
    (tmp_path / "annotations_final.csv").write_text("\n".join(lines))
    manifest = tmp_path / "magnatagatune.jsonl"
    run = CliRunner().invoke
    written = run(
        commands, ["manifest", "magnatagatune", "--home", f"{tmp_path}", "-o", f"{manifest}"]
    )
    assert written.exit_code == 0, written.output
    options = ("--task", "zeroshot-tagging", "--json", "--cache", tmp_path / "cache")
    result = evaluate(mulan_bundle, manifest, *options)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["results"]
    assert (found["labels"], found["tracks"]["test"]) == (50, 4)


def test_only_the_users_labels_in_the_users_sentences(labelled: Path, tmp_path: Path) -> None:
    recordings = read_recordings(labelled)
    (task,) = zero_shot_tasks(recordings, ["zeroshot-tagging"], ["low"], ["{} music"])
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.eye(len(texts), 4, dtype=np.float32)

    task.measure(task.recordings, np.ones((8, 4), np.float32) / 2, embed)
    assert asked == ["low music"]


def test_bad_and_silent_files_are_left_out_and_listed(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no music")
    soundfile.write(tmp_path / "silent.wav", np.zeros(24_000), 24_000)
    bad = [{"audio": f"{name}.wav", "split": "test", "tags": ["low"]} for name in ("bad", "silent")]
    manifest = write_rows([*rows_of(labelled), *bad], tmp_path)
    done, _ = judged(Knowing(), manifest, tmp_path, ["zeroshot-tagging"])
    assert done.results[0].tracks["test"] == 8
    reasons = {each.path.name: each.reason for each in done.skipped}
    assert "cannot be read" in reasons["bad.wav"]
    assert "silent" in reasons["silent.wav"]
    only = write_rows(bad, tmp_path)
    with pytest.raises(AudioError, match="none of 2 recordings can be used"):
        judged(Knowing(), only, tmp_path, ["zeroshot-tagging"])


def test_what_makes_no_sense(
    labelled: Path, mulan_bundle: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    cached = ("--cache", tmp_path)
    tagging = ("--task", "zeroshot-tagging", *cached)
    assert "genre, key" in refused(evaluate(mulan_bundle, labelled, "--task", "x"), UsageError)
    assert "retrieval" in refused(evaluate(mulan_bundle, labelled, "--task", "x"), UsageError)
    assert "mel has no text tower" in refused(
        evaluate(mulan_bundle, labelled, "--baseline", "mel", *tagging), UsageError
    )
    assert "has no text tower" in refused(evaluate(tiny_bundle, labelled, *tagging), UsageError)
    assert "--checkpoint" in refused(
        evaluate(mulan_bundle, labelled, "--baseline", "untrained", *tagging), UsageError
    )
    assert "no artefact 'text-int8'" in refused(
        evaluate(mulan_bundle, labelled, "--text-artefact", "text-int8", *tagging), BundleError
    )
    (tmp_path / "labels.txt").write_text("low\nlow-fi\n")
    labels = ("--labels-file", tmp_path / "labels.txt")
    assert "'low-fi' (1 in all)" in refused(
        evaluate(mulan_bundle, labelled, *labels, *tagging), UsageError
    )
    assert "name it" in refused(
        evaluate(mulan_bundle, labelled, *labels, "--task", "retrieval"), UsageError
    )
    assert "needs {}" in refused(
        evaluate(mulan_bundle, labelled, "--template", "music", *tagging), UsageError
    )


def test_too_little_to_measure_is_said(labelled: Path, tmp_path: Path) -> None:
    *rows, last = rows_of(labelled)
    few = write_rows([*(row for row in rows if row["split"] != "test"), last], tmp_path)
    with pytest.raises(AudioError, match="from 1 test recordings"):
        judged(Knowing(), few, tmp_path, ["zeroshot-tagging"])
    with pytest.raises(AudioError, match="nothing to confuse among 1 test recordings"):
        judged(Knowing(), few, tmp_path, ["retrieval"])
    untested = write_rows([row for row in rows if row["split"] != "test"], tmp_path)
    with pytest.raises(AudioError, match='no recording with captions or labels in split "test"'):
        judged(Knowing(), untested, tmp_path, ["retrieval"])
    leaking = write_rows([*rows, {**rows[0], "split": "test"}], tmp_path)
    with pytest.raises(AudioError, match="the splits leak"):
        judged(Knowing(), leaking, tmp_path, ["retrieval"])
