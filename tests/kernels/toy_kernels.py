"""Kernels with one fault each, and what comes of compiling them: as JSON in the file named first.

The fused kernels have none of these faults, so they cannot show what is said of them.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import triton
import triton.language as tl

from muqrt.errors import KernelError
from muqrt.kernels.ptx import ptx_of
from muqrt.kernels.variant import Variant


@triton.jit
def doubled(x):
    return 2 * x


@triton.jit
def scale(x, length, y, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    tl.store(y + at, doubled(tl.load(x + at, mask=inside)) * FACTOR, mask=inside)


@triton.jit
def outer_sum(x, y, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    at = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)
    tile = tl.load(x + at)
    tl.store(y + at, tile * tl.sum(tile, 1)[:, None] + tl.sum(tile, 0)[None, :])


@triton.jit
def copy_by_descriptor(x, y, BLOCK: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [BLOCK, BLOCK], [BLOCK, 1], [BLOCK, BLOCK])
    target = tl.make_tensor_descriptor(y, [BLOCK, BLOCK], [BLOCK, 1], [BLOCK, BLOCK])
    target.store([0, 0], source.load([0, 0]))


@triton.jit
def product(x, y, z, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)
    tl.store(z + at, tl.dot(tl.load(x + at), tl.load(y + at)))


FP32 = "*fp32"
SCALE = Variant(
    "scale",
    scale,
    {"x": FP32, "length": "i32", "y": "*fp16"},
    {"FACTOR": 1.5, "BLOCK": 1024},
    aligned=frozenset({"x", "length", "y"}),
)
TWO = {"x": FP32, "y": FP32}
SPILLING = Variant("spilling", outer_sum, TWO, {"ROWS": 128, "COLUMNS": 64}, num_warps=1)
SCRATCHING = Variant("scratching", copy_by_descriptor, TWO, {"BLOCK": 64})
LARGE = Variant("large", product, TWO | {"z": FP32}, {"BLOCK": 128}, num_warps=8)
CASES = {
    "sm_80": (SCALE, 80),
    "sm_120": (SCALE, 120),
    "old": (SCALE, 75),
    "spilling": (SPILLING, 90),
    "scratching": (SCRATCHING, 90),
    "large": (LARGE, 86),
}


def outcome(variant, capability):
    try:
        return asdict(ptx_of(variant, capability))
    except KernelError as error:
        return str(error)


if __name__ == "__main__":
    chosen = sys.argv[2:] or CASES
    outcomes = {name: outcome(*CASES[name]) for name in chosen}
    Path(sys.argv[1]).write_text(json.dumps(outcomes))
