"""A MuQ-MuLan on the real server: the local latents, and labels that change while it runs."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype
from typer.testing import CliRunner

from muqrt.cli.serve import commands
from muqrt.errors import BundleError, ServerError
from muqrt.gateway.server import Backend, Gateway
from muqrt.gateway.texts import served_texts
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.runtime.text.labels import TEMPLATES, LabelSet
from muqrt.runtime.text.zero_shot import LabelTagger
from muqrt.triton_repo.client.endpoint import Endpoint
from muqrt.triton_repo.client.session import TritonSession, statistics
from muqrt.triton_repo.client.zero_shot import embed_text, tag_labels
from muqrt.triton_repo.repository.check import check_repository
from muqrt.triton_repo.repository.machine import Machine
from muqrt.triton_repo.server.probe import Answer, Probe
from muqrt.triton_repo.server.process import Server
from muqrt.triton_repo.server.stubs import stubs_of
from muqrt.triton_repo.server.supervisor import Supervisor

from ...gateway.conftest import ask

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore:.*not among the words")]

MODELS = {"muq", "mulan_audio", "mulan_text", "mulan_text_tower", "zeroshot"}
LABELS = ["jazz piano", "欢快的小提琴", "rock 🎸 & 'roll'"]


@pytest.fixture(scope="module")
def folder(worded_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the repository ``models`` and of the label sets ``sets``."""
    folder = tmp_path_factory.mktemp("mulan")
    (folder / "sets").mkdir()
    arguments = [worded_bundle, "-o", folder / "models", "--threads", 1, "--length-seconds", 1]
    arguments += ["--label-sets", folder / "sets"]
    done = CliRunner().invoke(commands, ["repository", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "models", log=folder / "log", start_timeout_seconds=120) as running:
        yield running


@pytest.fixture(scope="module")
def local(mulan_bundle: Path) -> Iterator[Model]:
    with load(mulan_bundle, threads=1) as model:
        yield model


def test_each_model_computes_its_tiny_inference(server: Server) -> None:
    for name in MODELS:
        probe = Probe.of(json.loads(server.http.get(f"/v2/models/{name}/config")))
        before = statistics(server.grpc_url, name)
        assert probe.send(server.http_url, 30) is Answer.WORKS
        after = statistics(server.grpc_url, name)
        assert after.successes > before.successes, name
        assert after.failures == before.failures, name


@pytest.mark.full
def test_labels_and_texts_through_the_gateway(
    server: Server, local: Model, mulan_bundle: Path, music: Path
) -> None:
    endpoint, file = Endpoint(server.grpc_url), music / "greensleeves_duo.flac"
    labels = LabelSet(tuple(LABELS))
    latents = labels.latents(local.embed_text)
    expected = LabelTagger(local.session, labels, latents).tag(file)
    with TritonSession(endpoint, "mulan_audio") as session:
        texts = served_texts(endpoint, "mulan_audio")
        backend = Backend(session, "mulan_audio", texts=texts, server=endpoint, model="mulan_audio")
        with Gateway(backend) as gateway:
            query = urlencode({"labels": LABELS}, doseq=True)
            status, found, _ = ask(gateway, f"/v1/tags?{query}", file.read_bytes())
            assert status == 200, found
            (track,) = found["results"]
            assert track["cosines"] == pytest.approx(
                dict(zip(LABELS, expected.cosines.tolist(), strict=True)), abs=1e-5
            )
            scores = dict(zip(LABELS, expected.scores.tolist(), strict=True))
            assert track["scores"] == pytest.approx(scores, abs=1e-5)
            query = urlencode({"texts": LABELS}, doseq=True)
            status, found, _ = ask(gateway, f"/v1/similarity?{query}", file.read_bytes())
            assert status == 200, found
    cosines = [each["cosine"] for each in found["results"]]
    assert cosines == pytest.approx(local.similarity(file, LABELS).tolist(), abs=1e-5)


@pytest.mark.full
def test_a_dead_tower_is_loaded_again_and_what_calls_it_is_not(
    folder: Path, tmp_path: Path
) -> None:
    question = {
        "waveform": song(1.0)[None],
        "labels": np.frombuffer(b"jazz piano", np.uint8)[None],
    }
    with (
        Server(folder / "models", log=tmp_path / "log", exit_timeout_seconds=1) as server,
        Supervisor(server) as supervisor,
    ):
        before = send(server, "zeroshot", **question).as_numpy("cosines")
        (zeroshot,) = stubs_of(server.pid, "zeroshot")
        (tower,) = stubs_of(server.pid, "mulan_audio")
        os.kill(tower.pid, signal.SIGKILL)
        deadline = time.monotonic() + 90
        while supervisor.model_restarts["mulan_audio"] == 0 or not supervisor.is_ready:
            assert time.monotonic() < deadline, supervisor.metrics_text()
            time.sleep(0.02)
        assert np.array_equal(send(server, "zeroshot", **question).as_numpy("cosines"), before)
        assert stubs_of(server.pid, "zeroshot") == [zeroshot]
        assert supervisor.model_restarts.total() == 1


def song(seconds: float = 12.3, seed: int = 0) -> np.ndarray:
    samples = round(seconds * 24_000)
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def send(server: Server, model: str, **inputs: np.ndarray) -> Any:
    """One request, unchecked."""
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with triton.InferenceServerClient(server.grpc_url) as client:
        return client.infer(model, tensors)


def utf8(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)[None]


def remembered(server: Server) -> float:
    with urlopen(server.metrics_url) as page:
        text = page.read().decode()
    found = re.search(r"muqrt_texts_remembered_total{.*} (.*)", text)
    assert found is not None
    return float(found[1])


def texts_computed(server: Server) -> int:
    """By the tower so far; the server counts them a moment after it has answered."""
    found = -1
    while found != (found := statistics(server.grpc_url, "mulan_text_tower").inferences):
        time.sleep(0.05)
    return found


def test_the_check_knows_all_of_them(folder: Path, server: Server, worded_bundle: Path) -> None:
    found = check_repository(folder / "models", load_bundle(worded_bundle), Machine(None, ()))
    assert {each.model: each.problems for each in found} == {name: [] for name in MODELS}
    assert server.models() == dict.fromkeys(sorted(MODELS), "READY")


def test_served_latents_are_the_local_ones(server: Server, local: Model) -> None:
    tracks = [song(25), song(3, seed=1), song(20, seed=2)]
    with Model(TritonSession(server.grpc_url, "mulan_audio"), batch_size=3) as model:
        assert model.joint == local.joint
        found = [model.embed_audio(each, 24_000) for each in tracks]
    for ours, track in zip(found, tracks, strict=True):
        np.testing.assert_allclose(ours, local.embed_audio(track, 24_000), atol=1e-6)
    for text in ("jazz", "一首快乐的歌", "x " * 2_000):
        served = embed_text(server.grpc_url, text)
        np.testing.assert_allclose(served, local.embed_text([text])[0], atol=1e-6)


def test_muq_has_the_other_outputs(server: Server, local: Model) -> None:
    audio = {"waveform": song(1)[None]}
    with TritonSession(server.grpc_url) as session:
        found = session.run(audio)
        assert session.joint is None
        with pytest.raises(BundleError, match="shares no space with texts"):
            _ = Model(session).joint
    expected = local.session.run(audio, list(found))
    assert set(found) == {"features", "embedding"}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_texts_of_all_lengths_share_runs_of_the_tower(server: Server, local: Model) -> None:
    texts = ["very " * number + "slow" for number in range(24)]
    before = statistics(server.grpc_url, "mulan_text_tower")
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: embed_text(server.grpc_url, text), texts))
    after = statistics(server.grpc_url, "mulan_text_tower")
    assert after.executions - before.executions < len(texts)
    np.testing.assert_allclose(found, local.embed_text(texts), atol=1e-6)


def test_a_repeated_text_is_not_computed_again(server: Server) -> None:
    before = remembered(server)
    first = embed_text(server.grpc_url, "again and again")
    computed = texts_computed(server)
    again = embed_text(server.grpc_url, "again and again")
    np.testing.assert_array_equal(again, first)
    assert texts_computed(server) == computed
    assert remembered(server) == before + 1


def test_what_was_refused_is_refused_again(server: Server) -> None:
    for text, message in (
        (utf8("\udcff"), "UTF-8"),
        (utf8(""), "0 bytes"),
        (utf8("abcd").reshape(2, 2), "each in a request of its own"),
    ):
        for _ in range(2):
            with pytest.raises(InferenceServerException, match=message) as refusal:
                send(server, "mulan_text", text=text)
            assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    alone = send(server, "mulan_text", text=utf8("abcd")).as_numpy("latents")
    assert alone.shape == (1, 512)


def test_zero_shot_tags_are_the_local_ones(server: Server, local: Model) -> None:
    track = song(33)
    for templates in (None, ["{}", "this is {}"]):
        labels = LabelSet(tuple(LABELS), *([tuple(templates)] if templates else []))
        tagger = LabelTagger(local.session, labels, labels.latents(local.embed_text))
        expected = tagger.tag(track, 24_000)
        found = tag_labels(server.grpc_url, track, LABELS, templates=templates)
        assert found.labels == tuple(LABELS)
        np.testing.assert_allclose(found.cosines, expected.cosines, atol=1e-6)
        np.testing.assert_allclose(found.probabilities, expected.scores, atol=1e-6)
        np.testing.assert_allclose(found.clip_cosines, expected.window_cosines, atol=1e-6)
    plain = tag_labels(server.grpc_url, track, LABELS, templates=["{}"])
    cosines = local.similarity(track, LABELS, 24_000)
    np.testing.assert_allclose(plain.cosines, cosines, atol=1e-6)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (np.ones((1, 10_000), np.int64), np.ones((1, 10_000), np.int64), "text of 10000 tokens"),
        (np.full((1, 9), 1 << 40), np.ones((1, 9), np.int64), "does not know"),
        (np.ones((1, 9), np.int64), np.zeros((1, 9), np.int64), "nothing but padding"),
    ],
    ids=["long", "unknown", "padding"],
)
def test_tokens_that_the_text_tower_cannot_take_are_refused(
    server: Server, ids: np.ndarray, mask: np.ndarray, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as refusal:
        send(server, "mulan_text_tower", ids=ids, mask=mask)
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_words_that_were_not_learned(server: Server, recwarn: pytest.WarningsRecorder) -> None:
    assert tag_labels(server.grpc_url, song(1), ["jazz", "欢快"]).unlearned == ()
    embed_text(server.grpc_url, "jazz pianos")
    assert not recwarn.list
    found = tag_labels(server.grpc_url, song(1), ["zydeco", "jazz", "polka 小提琴"])
    assert found.unlearned == ("zydeco", "polka", "小提琴")
    embed_text(server.grpc_url, "a zydeco piano")
    end = "not among the words this model learned; expect a guess."
    assert [str(each.message) for each in recwarn] == [
        f'"zydeco", "polka", "小提琴" are {end}',
        f'"zydeco" is {end}',
    ]


def test_several_clients_at_once_each_get_their_own(server: Server) -> None:
    asked = [(song(2 + number, number), LABELS[: 1 + number % 3]) for number in range(9)]
    alone = [tag_labels(server.grpc_url, *each) for each in asked]
    with ThreadPoolExecutor(9) as pool:
        together = list(pool.map(lambda each: tag_labels(server.grpc_url, *each), asked))
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.labels == theirs.labels
        np.testing.assert_allclose(ours.clip_cosines, theirs.clip_cosines, atol=1e-6)


def test_labels_are_embedded_once(server: Server) -> None:
    labels = [f"label {number}" for number in range(300)]
    first = tag_labels(server.grpc_url, song(1), labels)
    before = texts_computed(server)
    again = tag_labels(server.grpc_url, song(1), labels[::-1])
    np.testing.assert_allclose(again.cosines[::-1], first.cosines, atol=1e-6)
    assert texts_computed(server) == before
    tag_labels(server.grpc_url, song(1), ["a new one", *labels])
    assert texts_computed(server) == before + len(TEMPLATES)


def test_label_sets_change_while_the_server_runs(server: Server, folder: Path) -> None:
    with pytest.raises(ServerError, match=r"no label set 'moods'; there are: none"):
        tag_labels(server.grpc_url, song(1), label_set="moods")
    (folder / "sets" / "moods.txt").write_text("happy\n\n sad\n", encoding="utf-8")
    found = tag_labels(server.grpc_url, song(1), label_set="moods")
    assert found.labels == ("happy", "sad")
    np.testing.assert_array_equal(
        found.cosines, tag_labels(server.grpc_url, song(1), ["happy", "sad"]).cosines
    )
    (folder / "sets" / "moods.txt").write_text("calm\nhappy\nwild\n", encoding="utf-8")
    swapped = tag_labels(server.grpc_url, song(1), label_set="moods")
    assert swapped.labels == ("calm", "happy", "wild")
    np.testing.assert_allclose(swapped.cosines[1], found.cosines[0], atol=1e-6)


GOOD = {"waveform": song(1)[None], "labels": utf8("jazz\nrock")}
BAD = [
    ({"waveform": GOOD["waveform"] * np.float32(np.nan)}, "NaN"),
    ({"waveform": GOOD["waveform"][:, :99]}, "too short"),
    ({"waveform": GOOD["waveform"][:, :0]}, "no samples|empty|too short"),
    ({"waveform": GOOD["waveform"].astype(np.float64)}, "data-type"),
    ({"waveform": GOOD["waveform"].reshape(2, -1), "labels": utf8("ab").reshape(2, 1)}, "2 rows"),
    ({"labels": utf8("jazz\n\nrock")}, "label 1 is empty"),
    ({"labels": utf8("jazz\njazz")}, "given twice"),
    ({"labels": utf8("jazz\rrock")}, "cannot be printed"),
    ({"labels": utf8("\udcff")}, "labels is not UTF-8"),
    ({"labels": utf8("\n".join(map(str, range(10_001))))}, "10001 labels"),
    ({"labels": utf8("a" * 3_000_000)}, r"3000000 bytes; .*65536 \(limits\.max_text_bytes"),
    ({"waveform": GOOD["waveform"] * np.float32(32_768)}, "Divide 16-bit samples by 32768"),
    ({"templates": utf8("no place")}, "needs {}"),
    ({"templates": utf8("\n".join(f"{{}} {n}" for n in range(60_000)))}, "60000 templates"),
    ({"label_set": utf8("moods")}, "either labels or a label_set"),
    ({"labels": None}, "either labels or a label_set"),
    ({"labels": None, "label_set": utf8("../../etc/passwd")}, "no label set"),
    ({"labels": None, "label_set": utf8("m"), "templates": utf8("{}")}, "has its own"),
]


def test_bad_questions_are_refused_and_the_next_is_answered(server: Server) -> None:
    expected = send(server, "zeroshot", **GOOD).as_numpy("cosines")
    for changed, message in BAD:
        inputs = {name: each for name, each in (GOOD | changed).items() if each is not None}
        with pytest.raises(InferenceServerException, match=message) as refusal:
            send(server, "zeroshot", **inputs)
        assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
        answer = send(server, "zeroshot", **GOOD)
        np.testing.assert_allclose(answer.as_numpy("cosines"), expected, atol=1e-6)
    assert server.models() == dict.fromkeys(sorted(MODELS), "READY")
