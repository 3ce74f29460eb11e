"""Is tf32x3 accurate enough? Tensor cores, which the interpreter does not have, in numpy."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from muqrt.kernels.mel_rvq.contract import MelRvqTables, Stage, tables
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.rvq import ResidualVectorQuantize, stacked
from muqrt.runtime.audio import read as audio

MUQ_MINI = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mini"
NEAR = 1e-5  # relative to the best similarity
WIDTH_BLOCK = 32  # of the kernel
AssertNearest = Callable[[np.ndarray, np.ndarray, Sequence[Stage], int], None]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def tf32(x: np.ndarray) -> np.ndarray:
    """What a tensor core reads of a float32: 10 bits after the point, the others cut off."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x as two TF32: the nearest one, by cvt.rna, and what is left."""
    nearest = tf32((x.view(np.uint32) + np.uint32(0x1000)).view(np.float32))
    return nearest, tf32(x - nearest)


def on_tensor_cores(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
    """a @ b + total, eight products at a time, each sum cut off to float32 as tensor cores do."""
    for k in range(0, a.shape[1], 8):
        exact = total + a[:, k : k + 8].astype(np.float64) @ b[k : k + 8].astype(np.float64)
        rounded = exact.astype(np.float32)
        total = np.where(np.abs(rounded) > np.abs(exact), np.nextafter(rounded, 0), rounded)
    return total


def tf32x3(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b as Triton compiles it, a block of the inner axis at a time, these added in float32."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(0, a.shape[1], WIDTH_BLOCK):
        (a1, a2), (b1, b2) = split(a[:, k : k + WIDTH_BLOCK]), split(b[k : k + WIDTH_BLOCK])
        small = on_tensor_cores(a1, b2, on_tensor_cores(a2, b1, np.zeros_like(total)))
        total = total + on_tensor_cores(a1, b1, small)
    return total


def tf32x1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One product instead of three, as TF32 is used for speed."""
    return on_tensor_cores(split(a)[0], split(b)[0], np.zeros((len(a), b.shape[1]), np.float32))


def tokens_by(product: Product, x: np.ndarray, folded: MelRvqTables) -> tuple[np.ndarray, float]:
    """The kernel's steps on x (width, steps): tokens (stages, steps), and by how much a similarity
    was wrong at most, of the best one."""
    stages, _, code_width = folded.codebooks.shape
    latents = product(folded.projection, x) + folded.bias[:, None]
    tokens, worst = [], 0.0
    for stage in range(stages):
        latent = latents[stage * code_width : (stage + 1) * code_width]
        similarity = product(folded.codebooks[stage], latent)
        exact = folded.codebooks[stage].astype(np.float64) @ latent
        worst = max(worst, (np.abs(similarity - exact) / exact.max(0)).max())
        tokens.append(similarity.argmax(0))
        latents = latents - folded.corrections[stage][tokens[-1]].T
    return np.stack(tokens).astype(np.int32), worst


@pytest.fixture(scope="module")
def stages(stages_of: Callable[[ResidualVectorQuantize], list[Stage]]) -> list[Stage]:
    """muq-mini's."""
    return stages_of(load_checkpoint(MUQ_MINI).model.model.rvq)


@pytest.fixture(scope="module")
def log_mel(music: Path) -> np.ndarray:
    """(1, 128, frames): some seconds of each piece, normalised."""
    mel = load_checkpoint(MUQ_MINI).model.model.preprocessor_melspec_2048
    songs = [audio.load(path)[48_000:144_000] for path in sorted(music.glob("*_*.*"))]
    assert len(songs) == 4
    return mel(torch.from_numpy(np.concatenate(songs))[None]).numpy()


def test_three_products_find_the_nearest_codes(
    stages: list[Stage], log_mel: np.ndarray, assert_nearest: AssertNearest
) -> None:
    x = stacked(torch.from_numpy(log_mel), 4)[0].numpy()
    tokens, worst = tokens_by(tf32x3, x, tables(stages))
    assert worst < NEAR
    assert_nearest(tokens[None], log_mel, stages, 4)


def test_one_product_does_not(
    stages: list[Stage], log_mel: np.ndarray, assert_nearest: AssertNearest
) -> None:
    x = stacked(torch.from_numpy(log_mel), 4)[0].numpy()
    tokens, worst = tokens_by(tf32x1, x, tables(stages))
    assert worst > 10 * NEAR
    with pytest.raises(AssertionError):
        assert_nearest(tokens[None], log_mel, stages, 4)


def test_a_split_loses_two_bits_at_most() -> None:
    x = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    high, low = split(x)
    assert np.abs(high + low.astype(np.float64) - x).max() <= 2.0**-22 * np.abs(x).max()
    assert not np.any(high.view(np.uint32) & 0x1FFF) and not np.any(low.view(np.uint32) & 0x1FFF)
