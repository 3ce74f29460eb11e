"""A served model that is held, so that clients can cancel what it was sent."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import psutil
import tritonclient.grpc as triton

from muqrt.triton_repo.server.process import Server

from ...fronted import fronted


@contextmanager
def held(server: Server, model: str) -> Iterator[None]:
    """Suspend a model's Python process; for less than a second, after which Triton gives it up."""
    stubs = psutil.Process(server.pid).children(recursive=True)
    (stub,) = (each for each in stubs if f"{model}_0_0" in each.cmdline())
    stub.suspend()
    try:
        yield
    finally:
        stub.resume()


def all_cancelled_but_the_last(
    server: Server, model: str, requests: list[dict[str, Any]]
) -> tuple[Any, list[str]]:
    """The last request's answer, and the others' status.

    The first is cancelled when it has reached the model, the others while they are in the queue.
    All are sent through a front, and so computed.
    """
    answers: Queue[tuple[int, Any, Any]] = Queue()
    with fronted(server) as front, triton.InferenceServerClient(front.grpc_url) as client:
        with held(server, model):
            calls = []
            for number, request in enumerate(requests):

                def done(result: Any, error: Any, number: int = number) -> None:
                    answers.put((number, result, error))

                calls.append(client.async_infer(model, callback=done, **request))
                time.sleep(0.1)
            for call in calls[:-1]:
                call.cancel()
        found = sorted((answers.get(timeout=30) for _ in requests), key=lambda answer: answer[0])
    *others, (_, answer, error) = found
    assert error is None, error
    return answer, [error.status() for _, _, error in others]
