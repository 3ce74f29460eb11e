"""A repository of the previous version on the real server: its model.py files import old names."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.audio.read import load
from muqrt.runtime.bundle.tagging import TAGS
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.client.streaming import StreamingClient
from muqrt.triton_repo.client.zero_shot import embed_text, tag_labels
from muqrt.triton_repo.server.process import Server

pytestmark = [pytest.mark.server]

SECONDS = 4
RATE_HZ = 24_000
LABELS = ["guitar", "piano", "cello"]
IMPORTED = {
    "runtime.bundle": "runtime.bundle.manifest",  # by muq
    "triton_repo.live_streams": "triton_repo.serving.live_streams",  # by muq_stream
    "triton_repo.zero_shot": "triton_repo.serving.zero_shot",  # by zeroshot
    "triton_repo.recent_latents": "triton_repo.serving.latent_cache",  # by mulan_text
}


@pytest.fixture(scope="module")
def served(previous: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("torch")
    log = tmp_path_factory.mktemp("previous") / "triton.log"
    with Server(previous / "models", log=log, start_timeout_seconds=120) as running:
        yield running


@pytest.fixture
def waveform(music: Path) -> np.ndarray:
    return load(music / "greensleeves_duo.flac")[: SECONDS * RATE_HZ]


@pytest.fixture
def answers(previous: Path) -> dict[str, np.ndarray]:
    return dict(np.load(previous / "answers.npz"))


def test_every_model_is_ready(served: Server) -> None:
    models = ("muq", "muq_stream", "mulan_audio", "mulan_text", "mulan_text_tower", "zeroshot")
    assert served.models() == dict.fromkeys(models, "READY")


def test_muq_answers(served: Server, waveform: np.ndarray, answers: dict[str, np.ndarray]) -> None:
    with TritonSession(served.grpc_url) as session:
        found = session.run({"waveform": waveform[None]}, ["embedding"])["embedding"]
    np.testing.assert_allclose(found[0], answers["embedding"], atol=1e-4)


def test_muq_stream_answers(
    served: Server, waveform: np.ndarray, answers: dict[str, np.ndarray]
) -> None:
    with StreamingClient(served.grpc_url) as client:
        hops = list(client.stream(np.array_split(waveform, 7), RATE_HZ))
    found = np.stack([hop.outputs[TAGS] for hop in hops])
    np.testing.assert_allclose(found, answers["tags"], atol=1e-4)


def test_zeroshot_answers(
    served: Server, waveform: np.ndarray, answers: dict[str, np.ndarray]
) -> None:
    found = tag_labels(served.grpc_url, waveform, LABELS, templates=["{}"])
    assert found.labels == tuple(LABELS)
    np.testing.assert_allclose(found.cosines, answers["cosines"], atol=1e-4)
    for label, latents in zip(LABELS, answers["latents"], strict=True):
        np.testing.assert_allclose(embed_text(served.grpc_url, label), latents, atol=1e-4)


def test_its_log_says_what_the_models_import(served: Server) -> None:
    log = served.log.read_text(encoding="utf-8")
    for old, new in IMPORTED.items():
        assert f"muqrt.{old} is deprecated: import muqrt.{new} instead." in log
