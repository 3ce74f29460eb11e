"""The tiny bundle on a real Triton server: same numbers, one batch for many, clean refusals."""

import concurrent.futures
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from muqrt.errors import ServerError, SessionError
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.triton_repo.client.session import TritonSession, statistics
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.contract.options import ServingOptions
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

from .held import all_cancelled_but_the_last

pytestmark = pytest.mark.server


def tensor(array: np.ndarray) -> triton.InferInput:
    """Any array as the waveform, unchecked."""
    given = triton.InferInput("waveform", array.shape, np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def send(server: Server, array: np.ndarray, outputs: list[str] | None = None) -> list[str]:
    """Send it; the names of the answer's outputs."""
    with triton.InferenceServerClient(server.grpc_url) as client:
        requested = [triton.InferRequestedOutput(name) for name in outputs or []]
        answer = client.infer("muq", [tensor(array)], outputs=requested or None).get_response()
        return [each.name for each in answer.outputs]


def test_served_equals_local(
    server: Server, bundle: Bundle, waveform: Callable[..., np.ndarray]
) -> None:
    with (
        OnnxSession(bundle, bundle.artefacts[0]) as local,
        TritonSession(server.grpc_url) as remote,
    ):
        for samples, batch in [(1_025, 1), (24_000, 1), (33_333, 3), (48_000, 8)]:
            audio = {"waveform": waveform(samples, batch, seed=samples)}
            expected, answer = local.run(audio), remote.run(audio)
            assert answer.keys() == expected.keys()
            for name, array in expected.items():
                assert answer[name].dtype == array.dtype
                np.testing.assert_allclose(answer[name], array, atol=1e-5, err_msg=name)


def test_four_minutes_in_one_request(
    bundle: Bundle,
    start_server: Callable[..., Server],
    waveform: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    options = ServingOptions(threads=1, limits=Limits(max_seconds=240.0))
    write_repository(bundle, tmp_path / "models", options=options)
    audio = {"waveform": waveform(240 * 24_000)}
    with (
        OnnxSession(bundle, bundle.artefacts[0]) as local,
        TritonSession(start_server(tmp_path / "models").grpc_url) as remote,
    ):
        answer = remote.run(audio, ["features"])["features"]
        np.testing.assert_allclose(answer, local.run(audio)["features"], atol=1e-5)


def test_a_model_is_loaded_again_while_it_is_asked(
    start_server: Callable[..., Server],
    bundle: Bundle,
    waveform: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    write_repository(bundle, tmp_path / "models", options=ServingOptions(threads=1))
    server = start_server(tmp_path / "models")
    audio = {"waveform": waveform()}
    before, again = Event(), Event()
    refusals: list[str] = []
    with TritonSession(server.grpc_url) as session:
        expected = session.run(audio)["features"]

        def ask() -> int:
            """Until there are ten answers after it was loaded again; how many there were."""
            after = answers = 0
            while after < 10:
                is_again = again.is_set()
                try:
                    np.testing.assert_array_equal(session.run(audio)["features"], expected)
                except ServerError as refusal:
                    assert not is_again, refusal
                    refusals.append(str(refusal))
                else:
                    answers, after = answers + 1, after + is_again
                if answers == 3:
                    before.set()
            return answers

        with concurrent.futures.ThreadPoolExecutor() as pool:
            asking = pool.submit(ask)
            assert before.wait(60)
            server.reload("muq")
            again.set()
            assert asking.result(60) >= 13
    assert all("muq" in refusal for refusal in refusals)


def test_a_session_knows_the_bundles_contract(server: Server, bundle: Bundle) -> None:
    artefact = bundle.artefacts[0]
    with TritonSession(server.grpc_url) as session:
        assert session.framing == bundle.framing
        assert list(session.inputs.values()) == artefact.inputs
        assert list(session.outputs.values()) == artefact.outputs
        assert (session.level, session.artefact_sha256) == (artefact.level, artefact.digest)


def test_concurrent_clients_share_executions(
    server: Server, bundle: Bundle, waveform: Callable[..., np.ndarray]
) -> None:
    clients, requests_each = 16, 3
    before = statistics(server.grpc_url)

    def client(number: int) -> list[np.ndarray]:
        with TritonSession(server.grpc_url) as session:
            audio = {"waveform": waveform(seed=number)}
            return [session.run(audio, ["features"])["features"] for _ in range(requests_each)]

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(client, range(clients)))
    # The server counts an execution after it has answered.
    deadline = time.monotonic() + 60
    while (after := statistics(server.grpc_url)).successes < before.successes + (
        clients * requests_each
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after.successes - before.successes == clients * requests_each
    assert after.failures == before.failures
    assert after.executions - before.executions < clients * requests_each
    with OnnxSession(bundle, bundle.artefacts[0]) as local:
        for number, own in enumerate(answers):
            expected = local.run({"waveform": waveform(seed=number)})["features"]
            for answer in own:
                np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_one_session_serves_many_threads(
    server: Server, waveform: Callable[..., np.ndarray]
) -> None:
    lengths = [4_800 * (1 + number % 3) for number in range(12)]
    with (
        TritonSession(server.grpc_url) as session,
        concurrent.futures.ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda n: session.run({"waveform": waveform(n)}), lengths))
    assert [each["features"].shape[1] for each in answers] == [n // 960 for n in lengths]


def _with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[0, 100] = np.nan
    return array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: good[:, :1_024].copy(), "at least 1025"),
        (_with_nan, "not finite"),
        (lambda good: good * np.float32(np.inf), "not finite"),
        (lambda good: good[:, :0].copy(), "at least 1025"),
        (lambda good: good.astype(np.float64), "data-type"),
        (lambda good: good.astype(np.int32), "data-type"),
        # Four windows of 2 s are the most.
        (lambda good: np.zeros((1, 600 * 24_000), np.float32), "600 s; .* at most 8 s"),
        (lambda good: np.full_like(good, 3e38), r"a sample of 3e\+38"),
        (lambda good: (good * 32_768).round(), "Divide 16-bit samples by 32768"),
        # The samples are taken for a batch.
        (lambda good: good[0].copy(), "batch-size must be <= 8"),
        (lambda good: good[None].copy(), "shape"),
        (lambda good: np.repeat(good, 9, axis=0), "batch-size must be <= 8"),
    ],
    ids=[
        "short",
        "nan",
        "inf",
        "empty",
        "float64",
        "int32",
        "long",
        "huge",
        "scaled",
        "rank1",
        "rank3",
        "batch9",
    ],
)
def test_bad_input_is_refused_and_the_server_stays_ready(
    server: Server,
    waveform: Callable[..., np.ndarray],
    spoil: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    with pytest.raises(InferenceServerException, match=message) as refusal:
        send(server, spoil(waveform()))
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert server.models() == {"muq": "READY"}
    assert send(server, waveform())


def test_a_bad_request_does_not_harm_its_batch(
    server: Server, waveform: Callable[..., np.ndarray]
) -> None:
    good = waveform()

    def attempt(array: np.ndarray) -> Any:
        try:
            return send(server, array)
        except InferenceServerException as error:
            return error.status()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, [good, _with_nan(good), good, good, _with_nan(good)]))
    refused = "StatusCode.INVALID_ARGUMENT"
    assert [outcome == refused for outcome in outcomes] == [False, True, False, False, True]


def test_cancelled_requests_leave_no_trace(
    server: Server, bundle: Bundle, waveform: Callable[..., np.ndarray]
) -> None:
    audio = [waveform(seed=number) for number in range(3)]
    requests = [{"inputs": [tensor(each)]} for each in audio]
    answer, others = all_cancelled_but_the_last(server, "muq", requests)
    assert others == ["StatusCode.CANCELLED"] * 2
    with OnnxSession(bundle, bundle.artefacts[0]) as local:
        expected = local.run({"waveform": audio[-1]})
    for name, array in expected.items():
        np.testing.assert_allclose(answer.as_numpy(name), array, atol=1e-5)
    assert send(server, audio[0])


def test_only_requested_outputs_are_returned(
    server: Server, waveform: Callable[..., np.ndarray]
) -> None:
    assert send(server, waveform(), ["embedding"]) == ["embedding"]
    assert sorted(send(server, waveform())) == ["embedding", "features", "hidden_states"]
    with TritonSession(server.grpc_url) as session:
        assert set(session.run({"waveform": waveform()}, ["embedding"])) == {"embedding"}


def test_a_session_checks_before_it_sends(
    server: Server, waveform: Callable[..., np.ndarray]
) -> None:
    with TritonSession(server.grpc_url) as session:
        with pytest.raises(SessionError, match="1024 samples"):
            session.run({"waveform": waveform(1_024)})
        with pytest.raises(ServerError, match=r"refused the request.*not finite"):
            session.run({"waveform": _with_nan(waveform())})
        with pytest.raises(SessionError, match="no output"):
            session.run({"waveform": waveform()}, ["tags"])


def test_a_model_that_is_not_served_is_named(server: Server) -> None:
    with pytest.raises(ServerError, match="serves no model 'mulan'"):
        TritonSession(server.grpc_url, "mulan")
    with pytest.raises(ServerError, match="serves no model 'mulan'"):
        statistics(server.grpc_url, "mulan")


def test_a_closed_session_says_so(server: Server, waveform: Callable[..., np.ndarray]) -> None:
    session = TritonSession(server.grpc_url)
    session.close()
    session.close()
    with pytest.raises(ServerError, match="closed"):
        session.run({"waveform": waveform()})
