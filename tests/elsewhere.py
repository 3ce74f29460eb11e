"""A head and a mix of levels as other projects store them, for the tiny checkpoint."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

LEVELS, LOGITS = [6, 9, 12], [0.1, 1.0, -1.0]
LABELS = ["calm", "bright", "slow"]


def probe() -> "nn.Linear":
    """A linear layer on a mean over time, the same each time."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Linear(32, len(LABELS))
    with torch.no_grad():
        module.weight *= 3
    return module.eval()


def save_probe(folder: Path) -> Path:
    """The file that describes it: it reads levels 3 and 5, in windows of 2 s."""
    import torch

    state = {f"net.0.{name}": each for name, each in probe().state_dict().items()}
    torch.save(state, folder / "p.pt")
    facts = {"levels": [3, 5], "labels": LABELS, "activation": "softmax", "window_seconds": 2}
    (folder / "head.json").write_text(json.dumps({"weights": "p.pt", **facts}))
    return folder / "head.json"


def save_mix(folder: Path) -> Path:
    """The file of a mix of ``LEVELS``."""
    mix = folder / "mix.json"
    mix.write_text(json.dumps({"levels": LEVELS, "weights": LOGITS, "softmax": True}))
    return mix
