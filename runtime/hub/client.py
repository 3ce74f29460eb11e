"""The hub's client library, with its progress bars for people only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ...common.environment import import_extra
from .address import HubAddress
from .failure import explained


@contextmanager
def hub_client(address: HubAddress) -> Iterator[ModuleType]:
    """Yield huggingface_hub for what concerns this address.

    Its bars are shown where stderr is a terminal; what else it shows is its own setting.

    Raises:
        HubError: what its errors within the block come to. MissingDependencyError: it is not
            installed.
    """
    hub = import_extra("hub", "huggingface_hub")
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        with explained(address):
            yield hub
    finally:
        if hide:
            enable_progress_bars()
