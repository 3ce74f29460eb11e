"""Slots are given in turn, and places to wait are shared."""

import asyncio

import pytest

from muqrt.triton_repo.front.admission import Admission, AdmissionConfig, FullError


class Request:
    """A request that holds its slot until it is told to end."""

    def __init__(self, admission: Admission, client: str, order: list[str]) -> None:
        self.client, self._order = client, order
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._hold(admission))

    async def _hold(self, admission: Admission) -> None:
        await admission.take(self.client)
        try:
            self._order.append(self.client)
            await self._end.wait()
        finally:
            admission.release(self.client)

    async def end(self) -> None:
        self._end.set()
        await self.task
        await asyncio.sleep(0)


async def made(admission: Admission, clients: str, order: list[str]) -> list[Request]:
    requests = [Request(admission, client, order) for client in clients]
    for _ in range(3):
        await asyncio.sleep(0)
    return requests


def test_the_next_slot_is_the_client_s_with_the_fewest() -> None:
    async def scenario() -> None:
        admission, order = Admission(AdmissionConfig(2, 10)), list[str]()
        requests = await made(admission, "aaaaabc", order)
        assert (order, admission.running, admission.waiting) == (["a", "a"], 2, 5)
        for each in requests[:2]:
            await each.end()
        assert order == ["a", "a", "b", "a"]
        await requests[5].end()
        assert order[4:] == ["c"]
        for each in (requests[2], requests[6], *requests[3:5]):
            await each.end()
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(scenario())


def test_whoever_waits_most_gives_up_a_place() -> None:
    async def scenario() -> None:
        admission, order = Admission(AdmissionConfig(1, 3)), list[str]()
        requests = await made(admission, "aaaab", order)
        with pytest.raises(FullError):
            await requests[3].task  # the newest of a
        assert admission.waiting == 3
        for client in "ba":  # neither has two fewer than the other
            with pytest.raises(FullError):
                admission.check(client)
        admission.check("c")
        for turn in (0, 1, 4, 2):
            await requests[turn].end()
        assert order == ["a", "a", "b", "a"]
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("is_last_moment", [False, True])
def test_a_client_that_leaves_keeps_nothing(is_last_moment: bool) -> None:
    async def scenario() -> None:
        admission, order = Admission(AdmissionConfig(1, 2)), list[str]()
        first, second, third = await made(admission, "abc", order)
        if is_last_moment:  # its slot is there, and it has not noticed
            first._end.set()
            await first.task
        second.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second.task
        if not is_last_moment:
            await first.end()
        await asyncio.sleep(0)
        assert order[-1] == "c"
        await third.end()
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(scenario())


def test_nobody_waits_where_there_is_no_place_for_it() -> None:
    async def scenario() -> None:
        admission = Admission(AdmissionConfig(1, 0))
        await admission.take("a")
        with pytest.raises(FullError):
            await admission.take("b")
        admission.release("a")
        await admission.take("b")

    asyncio.run(scenario())
