"""``muqrt tag --labels --server``: what the server says is what a bundle would have said.

That the real server says it is shown in tests/triton_repo.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("tritonclient.grpc")

from muqrt.errors import ServerError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.text.labels import LabelSet
from muqrt.runtime.text.zero_shot import LabelTagger
from muqrt.triton_repo.client import label_tagger
from muqrt.triton_repo.client.endpoint import Endpoint
from muqrt.triton_repo.contract.mulan import TextConfig, Tower, ZeroShotConfig
from muqrt.triton_repo.repository.layout import contract_of
from muqrt.triton_repo.serving.zero_shot import Answer

Command = Callable[..., CompletedProcess[str]]

SONG = "greensleeves_duo.flac"
LABELS = ("jazz piano", "欢快的小提琴")


@pytest.fixture
def served(mulan_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the server in the place of the real one was asked; it answers by the bundle."""
    bundle = load_bundle(mulan_bundle)
    hearing, reading = bundle.artefact(), bundle.artefact(tower="text")
    audio = Tower("mulan_audio", 8, contract_of(bundle, hearing, ("latents",)))
    text = Tower("mulan_text_tower", 8, contract_of(bundle, reading, ("latents",)))
    configs = {
        "zeroshot": ZeroShotConfig("zeroshot", audio, text).to_protobuf(),
        "mulan_text": TextConfig("mulan_text", text).to_protobuf(),
    }
    asked: list[dict[str, Any]] = []

    def call(connection: object, method: str, model: str, timeout_seconds: float) -> Any:
        assert method == "get_model_config"
        return SimpleNamespace(config=configs[model])

    def answer(
        url: str,
        waveform: np.ndarray,
        labels: Sequence[str],
        model: str,
        *,
        templates: Sequence[str],
        timeout_seconds: float,
    ) -> Answer:
        asked.append({"url": url, "model": model, "timeout_seconds": timeout_seconds})
        if len(waveform) < 24_000:
            raise ServerError(f"{url} refused the request: too short (INVALID_ARGUMENT).")
        if len(waveform) > 30 * 24_000:
            raise ServerError(f"{url} is overloaded.")
        label_set = LabelSet(tuple(labels), tuple(templates))
        with load(mulan_bundle) as loaded:
            tagger = LabelTagger(loaded.session, label_set, label_set.latents(loaded.embed_text))
            track = tagger.tag(waveform, 24_000)
        return Answer(label_set.labels, track.cosines, track.scores, track.window_cosines)

    monkeypatch.setattr("muqrt.triton_repo.client.connection.Connection.call", call)
    monkeypatch.setattr("muqrt.triton_repo.client.label_tagger.ask_labels", answer)
    return asked


def test_the_same_as_by_the_bundle(
    muqrt: Command,
    mulan_bundle: Path,
    music: Path,
    tmp_path: Path,
    served: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = ["tag", music / SONG, "--labels", *LABELS, "--template", "{}!", "--json"]
    done = muqrt(*given, "--server", "host:1", "--timeout-seconds", "7")
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(each.stdout) for each in (done, muqrt(*given, "-b", mulan_bundle))]
    assert answers[0].pop("model") == "host:1" != answers[1].pop("model")
    assert answers[0] == answers[1]
    assert served == [{"url": Endpoint("host:1"), "model": "zeroshot", "timeout_seconds": 7}]


def test_words_that_the_server_did_not_learn_are_said_once(
    muqrt: Command, music: Path, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = label_tagger.ask_labels

    def answer(*arguments: Any, **options: Any) -> Answer:
        return replace(without(*arguments, **options), unlearned=("zydeco",))

    monkeypatch.setattr(label_tagger, "ask_labels", answer)
    files = [music / SONG, music / SONG]
    done = muqrt("tag", *files, "--labels", "zydeco", "jazz", "--server", "host:1", "--json")
    assert done.stderr == (
        'muqrt: "zydeco" is not among the words this model learned; expect a guess.\n'
    )
    assert json.loads(done.stdout)["unlearned_words"] == ["zydeco"] and len(served) == 2


def test_a_bad_file_stops_no_other_and_a_busy_server_does(
    muqrt: Command, music: Path, tmp_path: Path, served: list[dict[str, Any]]
) -> None:
    soundfile.write(tmp_path / "short.wav", np.ones(9_000) * 0.1, 24_000)
    (tmp_path / "text.wav").write_text("not audio")
    files = [tmp_path / "short.wav", tmp_path / "text.wav", music / SONG]
    given = ["--labels", *LABELS, "--server", "host:1", "--json"]
    done = muqrt("tag", *files, *given)
    assert done.returncode == 3 and "2 of 3 files" in done.stderr
    first, second, third = json.loads(done.stdout)["results"]
    assert "short.wav: host:1 refused the request: too short" in first["error"]
    assert "not audio" in second["error"] and third["cosines"]
    done = muqrt("tag", *files, music / "bach_prelude_c.mp3", *given)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("muqrt: host:1 is overloaded")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--model", "mulan_text"], 3, "'mulan_text' at host:1 takes no labels"),
        (["--no-cache"], 2, "not for labels on a server"),
        (["--bulk"], 2, "not for labels on a server"),
        (["--threads", "1"], 2, "--artefact and --threads are for --bundle"),
    ],
    ids=str,
)
def test_what_a_server_does_not_do(
    muqrt: Command,
    music: Path,
    served: list[dict[str, Any]],
    options: list[str],
    status: int,
    message: str,
) -> None:
    done = muqrt("tag", music / SONG, "--labels", "a", "--server", "host:1", *options)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert not served
