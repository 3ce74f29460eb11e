"""Probes: heads that know high from low, with MuQ frozen and with MuQ trained, too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from muqrt.cli.train.probe import commands
from muqrt.errors import AudioError, CheckpointError, UsageError
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.head import load_head, pooled
from muqrt.training.data.manifest import read_recordings
from muqrt.training.probe import fit
from muqrt.training.probe.fine_tune import JointTraining, LabelledCrops
from muqrt.training.probe.fit import Examples, predict
from muqrt.training.probe.tasks import find_task
from muqrt.training.probe.train import MuqEncoder, Probe, score, train_probe

RATE_HZ = 24_000
TRACKS = {"train": 14, "valid": 4, "test": 6}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of tones, low and high, loud and soft; the first half of each is another's."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for split, count in TRACKS.items():
        for index in range(count):
            high, loud = index % 2, float(random.uniform(0.1, 0.9))
            hz = np.repeat([3000, 200][:: 1 - 2 * high], int(1.5 * RATE_HZ))
            tone = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ) + random.normal(size=len(hz)) * 0.01
            name = f"{split}-{index}.wav"
            soundfile.write(folder / name, 0.5 * loud * tone, RATE_HZ)
            first, second = ("low", "high") if high else ("high", "low")
            labels: dict[str, Any] = {
                "genre": second,
                "tags": [second, "tone"],
                "valence": loud * 2 - 1,
                "arousal": -loud,
                "sections": [[0, 1.5, first], [1.5, 3, second]],
            }
            rows.append({"audio": name, "song": name, "split": split, **labels})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture(autouse=True, scope="module")
def one_recipe() -> Iterator[None]:
    """Choosing among several is tested where heads are fitted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_RECIPES", fit._RECIPES[:1])
        yield


def probe(checkpoint: Path, manifest: Path, output: Path, *options: object) -> Result:
    arguments = [checkpoint, manifest, "-o", output, "--cache", output.parent / "cache"]
    arguments += [*options, "--accelerator", "cpu"]
    return CliRunner().invoke(commands, list(map(str, arguments)))


def test_the_encoder_pools_every_level(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    waveforms = np.random.default_rng(0).normal(size=(2, RATE_HZ)).astype(np.float32) / 10
    found = MuqEncoder(checkpoint, torch.device("cpu"))(waveforms, 1)
    with torch.no_grad():
        states = checkpoint.model(torch.from_numpy(waveforms)).hidden_states
    expected = torch.stack([pooled(state) for state in states], 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_head_is_trained_saved_and_answers(
    tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    result = probe(tiny_checkpoint, tones, tmp_path / "tags", "--task", "tagging", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    head = load_head(tmp_path / "tags")
    assert facts["tracks"] == TRACKS
    assert head.config.labels == ["high", "low", "tone"]
    assert head.config.model_sha256 == load_checkpoint(tiny_checkpoint).sha256
    assert len(head.config.thresholds) == 3
    assert head.config.levels == list(range(13))
    assert head.config.figures["test"]["F1"] > 0.9
    # What it says of a file is what the model's own hidden states give.
    checkpoint, recordings = load_checkpoint(tiny_checkpoint), read_recordings(tones)
    samples = soundfile.read(recordings[-1].audio, dtype="float32")[0]
    features = MuqEncoder(checkpoint, torch.device("cpu"))(samples[None], 1)[:, 0]
    said = predict(head, features)[0] > head.config.thresholds
    assert {head.config.labels[index] for index in np.flatnonzero(said)} == set(
        recordings[-1].tags or ()
    )


@pytest.mark.parametrize(("task", "figure"), [("structure", "accuracy"), ("emotion", "R2")])
def test_other_kinds_of_tasks(
    task: str, figure: str, tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    trained = train_probe(
        load_checkpoint(tiny_checkpoint),
        read_recordings(tones),
        Probe(find_task(task), levels=[0, 2], hidden=8),
        tmp_path,
        torch.device("cpu"),
    )
    assert trained.head.config.levels == [0, 2]
    assert trained.head.config.hidden == 8
    assert trained.head.config.per_step == (task == "structure")
    assert trained.head.config.figures["test"][figure] > 0.5


def test_the_same_seed_gives_the_same_head(
    tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    weights = []
    for name in ("a", "b"):
        assert probe(tiny_checkpoint, tones, tmp_path / name, "--task", "genre").exit_code == 0
        weights.append((tmp_path / name / "head.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_fine_tuning_trains_both_and_saves_both(
    tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    options = ("--task", "genre", "--fine-tune-steps", 3, "--batch-size", 2)
    result = probe(tiny_checkpoint, tones, tmp_path / "genre", *options)
    assert result.exit_code == 0, result.output
    tuned = load_checkpoint(tmp_path / "genre-tuned" / "checkpoint")
    before = load_checkpoint(tiny_checkpoint)
    assert load_head(tmp_path / "genre").config.model_sha256 == tuned.sha256 != before.sha256
    state = tuned.model.state_dict()
    changed = [n for n, w in before.model.state_dict().items() if not torch.equal(w, state[n])]
    assert any("conformer" in name for name in changed)
    assert not any("rvq" in name for name in changed)


def test_fine_tuning_lowers_the_loss(tiny_checkpoint: Path, tones: Path, tmp_path: Path) -> None:
    checkpoint, task = load_checkpoint(tiny_checkpoint), find_task("structure")
    recordings = [each for each in read_recordings(tones) if each.split == "train"]
    trained = train_probe(
        checkpoint, read_recordings(tones), Probe(task), tmp_path, torch.device("cpu")
    )
    trained.head.output.weight.data.zero_()
    trainee = JointTraining(checkpoint.model, trained.head)
    crops = LabelledCrops(recordings, task, trained.head.config.labels, seed=0)
    batch = [crops[index].inputs for index in range(4)]
    waveform, targets = (torch.cat(column) for column in zip(*batch, strict=True))
    assert targets.shape == (4, 6)
    optimizer = torch.optim.AdamW(trainee.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        loss, _ = trainee(waveform, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05


def test_a_crop_has_the_labels_of_its_own_steps(tones: Path) -> None:
    task = find_task("structure")
    long = [
        each.model_copy(update={"sections": ((0.0, 1.0, "a"), (1.0, 3.0, "b"))})
        for each in read_recordings(tones)
    ]
    shorter = type(task)(**{**vars(task), "window_seconds": 1.0})
    crops = LabelledCrops(long, shorter, ["a", "b"], seed=0)
    for index in range(10):
        crop, _ = crops._crops.draw(index)
        steps = crop.start / RATE_HZ + np.array([0.25, 0.75])
        assert crops[index].inputs[1].tolist() == [(steps >= 1).astype(int).tolist()]


def test_scores_by_hand(tiny_checkpoint: Path, tones: Path, tmp_path: Path) -> None:
    trained = train_probe(
        load_checkpoint(tiny_checkpoint),
        read_recordings(tones),
        Probe(find_task("tagging"), levels=[1]),
        tmp_path,
        torch.device("cpu"),
    )
    features = np.random.default_rng(0).normal(size=(9, 1, 64)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 2, (9, 3)).astype(np.float32)
    said = predict(trained.head, features) > np.array(trained.head.config.thresholds)
    f1 = []
    for label in range(3):
        hits = (said[:, label] & (targets[:, label] == 1)).sum()
        f1.append(2 * hits / (said[:, label].sum() + targets[:, label].sum()))
    found = score(trained.head, Examples(features, targets))
    assert found["F1"] == pytest.approx(np.mean(f1))


def test_bad_files_are_counted_and_listed(
    tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    rows = tones.read_text().splitlines()
    bad = {"audio": str(tmp_path / "bad.wav"), "song": "bad", "split": "test", "genre": "low"}
    (tmp_path / "bad.wav").write_bytes(b"no music")
    absolute = [
        {**json.loads(row), "audio": str(tones.parent / json.loads(row)["audio"])} for row in rows
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, [*absolute, bad])), encoding="utf-8")
    result = probe(tiny_checkpoint, manifest, tmp_path / "head", "--task", "genre")
    assert "Left out, whole or in part: 1." in result.stdout
    assert f"{tmp_path / 'bad.wav'}: cannot be read" in result.stdout


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (("--task", "karaoke"), UsageError, "choose among genre"),
        (("--task", "singer"), AudioError, "no recording with singer"),
        (("--task", "genre", "--levels", "0,13"), UsageError, r"levels \[13\]: .* has 0 to 12"),
        (("--task", "genre", "--levels", "top"), UsageError, "write all, or numbers"),
    ],
)
def test_what_cannot_be_asked(
    options: tuple[str, ...],
    kind: type[Exception],
    message: str,
    tiny_checkpoint: Path,
    tones: Path,
    tmp_path: Path,
) -> None:
    result = probe(tiny_checkpoint, tones, tmp_path / "head", *options)
    assert isinstance(result.exception, kind)
    with pytest.raises(kind, match=message):
        raise result.exception
    assert not (tmp_path / "head").exists()


def test_a_folder_of_something_else_is_not_replaced(
    tiny_checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    result = probe(tiny_checkpoint, tones, tmp_path / "mine", "--task", "genre")
    assert isinstance(result.exception, UsageError)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_no_checkpoint(tones: Path, tmp_path: Path) -> None:
    result = probe(tmp_path / "gone", tones, tmp_path / "head", "--task", "genre")
    assert isinstance(result.exception, CheckpointError)
