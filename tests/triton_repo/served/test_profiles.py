"""The named profiles on the real server: they load, answer, refuse, and let the urgent overtake."""

import time
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from muqrt.cli.repository.options import ServingFlags
from muqrt.common.retry import Backoff
from muqrt.errors import MissingDependencyError, ServerError
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.triton_repo.client import session as client
from muqrt.triton_repo.client.connection import as_tensor
from muqrt.triton_repo.client.session import TritonSession, statistics
from muqrt.triton_repo.contract.options import PROFILES, QueuePolicy, RateLimit, ServingOptions
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

from .held import all_cancelled_but_the_last, held

BULK = 2  # the priority
OTHERS = {
    "bulk": ServingOptions(
        max_batch_size=1, max_queue_delay_us=0, max_queue_size=2, bulk_queue=QueuePolicy(max_size=4)
    ),
    "cached": ServingOptions(outputs=("embedding",), max_batch_size=1, response_cache=True),
    "limited": ServingOptions(
        rate_limit=RateLimit({"core": 1}, priority=2), instances=2, lengths_seconds=(0.5, 1)
    ),
}


def test_the_command_knows_every_profile() -> None:
    choice, _ = get_args(get_type_hints(ServingFlags)["profile"])
    assert get_args(choice) == tuple(PROFILES)


@pytest.fixture(scope="module")
def profiles(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server with a model for each profile, and for what no profile has."""
    folder = tmp_path_factory.mktemp("profiles")
    for name, options in {**PROFILES, **OTHERS}.items():
        write_repository(bundle, folder / "models", model_name=name, options=options)
    more = ["--cache-config=local,size=16777216", "--rate-limit=execution_count"]
    try:
        running = Server(
            folder / "models", log=folder / "log", start_timeout_seconds=120, more_arguments=more
        )
    except MissingDependencyError as missing:
        pytest.skip(f"no Triton server: {missing}")
    with running:
        yield running


@pytest.mark.server
def test_every_profile_loads_and_answers(
    profiles: Server, waveform: Callable[..., np.ndarray]
) -> None:
    assert profiles.models() == dict.fromkeys(sorted({**PROFILES, **OTHERS}), "READY")
    answers = []
    for model in (*PROFILES, "limited"):
        with TritonSession(profiles.grpc_url, model) as session:
            answers.append(session.run({"waveform": waveform()})["features"])
    for answer in answers:
        assert answer.shape == (1, 25, 4)
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.server
def test_repeated_audio_is_answered_from_memory(
    profiles: Server, waveform: Callable[..., np.ndarray]
) -> None:
    with TritonSession(profiles.grpc_url, "cached") as session:
        runs = statistics(profiles.grpc_url, "cached").executions
        first, again, other = (
            session.run({"waveform": waveform(seed=seed)})["embedding"] for seed in (1, 1, 2)
        )
        assert statistics(profiles.grpc_url, "cached").executions == runs + 2
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)


@pytest.mark.server
def test_what_was_cancelled_or_refused_is_not_remembered_as_an_answer(
    profiles: Server, waveform: Callable[..., np.ndarray]
) -> None:
    audio = [waveform(seed=seed) for seed in (3, 4, 5)]
    requests = [{"inputs": [as_tensor("waveform", each)]} for each in audio]
    all_cancelled_but_the_last(profiles, "cached", requests)
    with TritonSession(profiles.grpc_url, "cached") as session:
        for each in audio:
            assert session.run({"waveform": each})["embedding"].shape == (1, 4)
        bad = {"waveform": waveform() * np.float32(np.nan)}
        with pytest.raises(ServerError, match="not finite"):
            session.run(bad)
        with pytest.raises(ServerError, match="response cache has kept a refusal"):
            session.run(bad)


class Requests:
    """Requests to the model ``bulk``, and the names of those that were refused and answered."""

    def __init__(self, server: Server, audio: np.ndarray) -> None:
        import tritonclient.grpc as triton

        self._client = triton.InferenceServerClient(server.grpc_url)
        self._tensor = triton.InferInput("waveform", audio.shape, "FP32")
        self._tensor.set_data_from_numpy(audio)
        self.sent: list[str] = []
        self.refused: dict[str, str] = {}
        self.answered: list[str] = []

    def fill(self, name: str, priority: int) -> None:
        """Send until one is refused."""
        deadline = time.monotonic() + 30
        while not any(each.startswith(name) for each in self.refused):
            assert time.monotonic() < deadline
            self._send(f"{name} {len(self.sent)}", priority)
            time.sleep(0.03)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while len(self.refused) + len(self.answered) < len(self.sent):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self._client.close()

    def _send(self, name: str, priority: int) -> None:
        def done(result: Any, error: Any) -> None:
            if error is None:
                self.answered.append(name)
            else:
                self.refused[name] = f"{error.status()}: {error.message()}"

        self.sent.append(name)
        self._client.async_infer("bulk", [self._tensor], done, priority=priority)


@pytest.mark.server
def test_the_urgent_overtake_and_each_queue_has_its_bound(
    profiles: Server, waveform: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(profiles, waveform(2_000))
    session = TritonSession(profiles.grpc_url, "bulk", bulk=True)
    monkeypatch.setattr(client, "BACKOFF", Backoff(0, 0))  # tried again at once
    # Held, the model runs one; then the queues fill, each to its own bound.
    with held(profiles, "bulk"):
        requests.fill("bulk", BULK)
        with session, pytest.raises(ServerError, match="too many requests waiting"):
            session.run({"waveform": waveform(2_000)})
        requests.fill("urgent", 0)
    requests.wait()
    for message in requests.refused.values():
        assert "UNAVAILABLE" in message
        assert "maximum queue size" in message
    kinds = [each.split()[0] for each in requests.answered]
    assert kinds.count("bulk") in (4, 5)  # the queue, and the one that was running
    assert kinds.count("urgent") == 2
    # One was running, and answers may arrive a place too late.
    assert kinds[-3:] == ["bulk"] * 3
