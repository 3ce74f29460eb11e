"""What compiling kernels needs, and when tokens are right."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from muqrt.kernels.mel_rvq.contract import Stage
from muqrt.reference.rvq import ResidualVectorQuantize

NEAR = 1e-5  # relative: how much less similar than the best a code may be


def mostly_full(values: Sequence[Any], *few: Any) -> list[Any]:
    """Parameters of which only ``few`` are in every run."""
    return [
        value if value in few else pytest.param(value, marks=pytest.mark.full) for value in values
    ]


@pytest.fixture(scope="session")
def compiling(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that may compile kernels: this run's caches, no interpreter."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # what one worker has compiled the others need not
    caches = folder / "caches"
    environment = os.environ | {
        "XDG_CACHE_HOME": str(caches / "user"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }
    environment.pop("TRITON_INTERPRET", None)
    return environment


@pytest.fixture(scope="session")
def stages_of() -> Callable[[ResidualVectorQuantize], list[Stage]]:
    """The weights of a reference RVQ with linear projections."""

    @torch.no_grad()
    def read(rvq: ResidualVectorQuantize) -> list[Stage]:
        return [
            Stage(
                stage.in_proj.weight[:, :, 0].numpy(),
                stage.in_proj.bias.numpy(),
                stage.codebook.weight.numpy(),
                stage.out_proj.weight[:, :, 0].numpy(),
                stage.out_proj.bias.numpy(),
            )
            for stage in rvq.stages
        ]

    return read


AssertNearest = Callable[[np.ndarray, np.ndarray, Sequence[Stage], int], None]


@pytest.fixture(scope="session")
def assert_nearest() -> AssertNearest:
    """Of tokens, log_mel, stages and frames_per_step: each token is the code most similar, in
    float64, to what the tokens before it left; or ``NEAR`` it."""

    def check(
        tokens: np.ndarray, log_mel: np.ndarray, stages: Sequence[Stage], frames_per_step: int
    ) -> None:
        batch, mels, frames = log_mel.shape
        steps = frames // frames_per_step
        assert tokens.dtype == np.int32
        assert tokens.shape == (batch, len(stages), steps)
        whole = log_mel[..., : steps * frames_per_step].astype(np.float64)
        by_frame = whole.reshape(batch, mels, steps, frames_per_step).transpose(0, 2, 3, 1)
        residual = by_frame.reshape(batch, steps, mels * frames_per_step)
        for stage, chosen in zip(stages, tokens.transpose(1, 0, 2), strict=True):
            lengths = np.linalg.norm(stage.codes.astype(np.float64), axis=1, keepdims=True)
            similarity = (residual @ stage.down.T + stage.down_bias) @ (stage.codes / lengths).T
            best = similarity.max(-1)
            got = np.take_along_axis(similarity, chosen[..., None].astype(int), -1)[..., 0]
            assert (best - got <= NEAR * np.abs(best)).all()
            residual = residual - (stage.codes[chosen] @ stage.up.T + stage.up_bias)

    return check
