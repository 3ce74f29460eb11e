"""A bundle on the hub answers for a model, by its address and by its id."""

from pathlib import Path

import pytest
import torch

from muqrt.drop_in import MuQ
from muqrt.errors import CheckpointError
from muqrt.runtime.bundle.manifest import MANIFEST, load_bundle

from ..hub_server import Hub
from ..runtime.hub.conftest import hub

__all__ = ["hub"]


def test_a_bundle_on_the_hub(hub: Hub, levels_bundle: Path) -> None:
    names = [MANIFEST, *load_bundle(levels_bundle).files]
    hub.put("me/mini", {name: (levels_bundle / name).read_bytes() for name in names})
    x = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    expected = MuQ.from_pretrained(levels_bundle)(x).last_hidden_state
    for name in ("hf://me/mini@main", "me/mini"):
        torch.testing.assert_close(MuQ.from_pretrained(name)(x).last_hidden_state, expected)
    with pytest.raises(CheckpointError, match="me/none: cannot be fetched from the hub"):
        MuQ.from_pretrained("me/none")
