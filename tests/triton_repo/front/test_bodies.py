"""What is on its way is counted, by client and altogether."""

import pytest

from muqrt.triton_repo.front.asgi import RefusedError
from muqrt.triton_repo.front.bodies import Buffered
from muqrt.triton_repo.front.limits import FrontLimits


@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0), (3, 4)])
def test_what_is_released_is_free_again(sizes: tuple[int, ...]) -> None:
    buffered = Buffered(FrontLimits(buffered_bytes=10, client_buffered_bytes=7))
    for _ in range(2):
        for size in sizes:
            buffered.take("a", size)
        for size in sizes:
            buffered.release("a", size)
    buffered.take("a", 7)
    buffered.take("b", 3)
    for client in "abc":
        with pytest.raises(RefusedError):
            buffered.take(client, 1)
