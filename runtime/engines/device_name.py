"""Names of devices, as users give them: "cpu", "cuda", "cuda:1"."""

import re
from dataclasses import dataclass

from ...errors import SessionError


@dataclass(frozen=True)
class DeviceName:
    """A kind of device, and which one: 0 is the first."""

    kind: str
    index: int


def parse_device(text: str, *kinds: str) -> DeviceName:
    """Parse a device's name; raise SessionError unless it is of one of these kinds."""
    found = re.fullmatch(r"([a-z]+(?:-[a-z]+)?)(?::(\d{1,3}))?", text)
    if found is None or found[1] not in kinds:
        raise SessionError(
            f"device {text!r}: choose {' or '.join(kinds)}; of several GPUs one by its number, "
            "such as cuda:1."
        )
    return DeviceName(found[1], int(found[2] or 0))
