"""Tokens are judged in NumPy as they are in PyTorch, whatever was chosen."""

import numpy as np
import pytest
import torch

from muqrt.export.outputs.measuring import equal_tokens as in_torch
from muqrt.export.outputs.stored_rvq import stored_rvq
from muqrt.reference.rvq import ResidualVectorQuantize
from muqrt.runtime.parity.tokens import equal_tokens, stages_of

WIDTH, STAGES, CODES, STEPS = 24, 3, 64, 200


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("wrong", [0.0, 0.01, 0.5])
def test_the_share_is_the_same(layers: int, wrong: float) -> None:
    torch.manual_seed(layers)
    rvq = ResidualVectorQuantize(WIDTH, STAGES, CODES, 8, layers).eval()
    random = np.random.default_rng(0)
    exact = random.normal(size=(2, WIDTH, STEPS))
    x = exact.astype(np.float32)
    with torch.inference_mode():
        tokens = rvq(torch.from_numpy(x))[1].int().numpy()
    changed = random.random(tokens.shape) < wrong
    tokens = np.where(changed, random.integers(0, CODES, tokens.shape), tokens).astype(np.int32)
    prefix = "rvq/"
    stages = stages_of({name.removeprefix(prefix): each for name, each in stored_rvq(rvq)})
    theirs = in_torch(rvq, torch.from_numpy(x), tokens, lambda: torch.from_numpy(exact))
    ours = equal_tokens(stages, x, tokens, exact)
    assert len(stages) == STAGES
    assert ours == pytest.approx(theirs, abs=1 / tokens.size)
    assert (ours == 1.0) == (wrong == 0.0)


def test_what_is_no_token_is_not_equal() -> None:
    torch.manual_seed(0)
    rvq = ResidualVectorQuantize(WIDTH, STAGES, CODES, 8, 1)
    stages = stages_of({name.removeprefix("rvq/"): each for name, each in stored_rvq(rvq)})
    x = np.zeros((1, WIDTH, 4), np.float32)
    for tokens in (
        np.full((1, STAGES, 4), CODES, np.int32),
        np.zeros((1, STAGES, 3), np.int32),
        np.zeros((1, STAGES, 4), np.float32),
    ):
        assert equal_tokens(stages, x, tokens, x.astype(np.float64)) == 0.0
