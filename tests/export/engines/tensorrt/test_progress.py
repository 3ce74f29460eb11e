"""A build's progress: no signal that comes during it is lost. Its library is stood in for."""

import signal
from types import SimpleNamespace

import pytest

from muqrt.common.interrupts import ENDING_SIGNALS
from muqrt.export.engines.tensorrt.progress import reported

LIBRARY = SimpleNamespace(IProgressMonitor=object)


@pytest.mark.parametrize("number", ENDING_SIGNALS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_is_handled_when_the_block_has_ended(number: int, fails: bool) -> None:
    before = signal.signal(number, signal.default_int_handler)
    config, ended = SimpleNamespace(), []
    try:
        with pytest.raises(KeyboardInterrupt), reported(LIBRARY, config, lambda what: None):
            signal.raise_signal(number)
            assert not config.progress_monitor.step_complete("parse", 1)
            ended.append(True)
            if fails:
                raise MemoryError
        assert ended and signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_without_a_signal_the_blocks_own_error_is_raised() -> None:
    with (
        pytest.raises(MemoryError),
        reported(LIBRARY, SimpleNamespace(), lambda what: None),
    ):
        raise MemoryError
