"""The machine's highest rates by instruction set: oneDNN's products of matrices, told to go no
further than one set, each in a fresh process.

So one machine says what its fp32 multiply-adds give with 256 and with 512 bits, and its products
of bytes with and without VNNI: what a processor without the newer sets can hope for.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ...common.environment import instruction_sets
from ...common.process.fresh import fresh_process
from ..measure.timing import MATRIX_WIDTH, Run, measure_rates

# oneDNN's names of them, in its ONEDNN_MAX_CPU_ISA.
_NAMES = {
    "AVX2": "AVX2",
    "AVX-VNNI": "AVX2_VNNI",
    "AVX-512": "AVX512_CORE",
    "AVX-512 VNNI": "AVX512_CORE_VNNI",
    "AVX-512 BF16": "AVX512_CORE_BF16",
    "AMX": "AVX512_CORE_AMX",
}
_WITH_BF16 = ("AVX-512 BF16", "AMX")  # the others widen it to fp32


@dataclass(frozen=True)
class InstructionSetRate:
    """Operations a second of a large product of matrices with one instruction set."""

    instruction_set: str
    precision: str
    flops_per_second: float


def measure_instruction_sets(
    threads: int, on_step: Callable[[str], None] = lambda name: None
) -> list[InstructionSetRate]:
    """The rates of every set that this processor has, in fp32, int8 and, where it is native, bf16.

    Args:
        threads: of the products.
        on_step: called after each set.

    Raises:
        SessionError: a fresh process failed.
    """
    found = []
    for name in instruction_sets():
        request = {"instruction_set": name, "threads": threads}
        _, rates = fresh_process("muqrt.benchmarks.model.instruction_sets", name, request)
        found += [InstructionSetRate(name, precision, rate) for precision, rate in rates.items()]
        on_step(name)
    return found


def _measure(threads: int, with_bf16: bool) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    width = MATRIX_WIDTH["cpu"]
    a, b = torch.randn(2, width, width)
    packed = torch.ops.mkldnn._reorder_linear_weight(b, width)
    bytes_a = torch.randint(0, 256, (width, width), dtype=torch.uint8)
    bytes_b = torch.randint(-64, 64, (width, width), dtype=torch.int8)
    scales, zeros = torch.full([width], 1e-2), torch.zeros(width, dtype=torch.int32)
    packed_bytes = torch.ops.onednn.qlinear_prepack(bytes_b, [width, width])
    by = 1e-2  # the scale of a
    none: tuple[object, ...] = ("none", [], "")  # nothing after the product
    out = scales, zeros, None, 1.0, 0, torch.float32
    quantized = torch.ops.onednn.qlinear_pointwise
    runs: dict[str, Run] = {
        "fp32": lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, *none),
        "int8": lambda: quantized(bytes_a, by, 0, packed_bytes, *out, *none),
    }
    if with_bf16:
        half_a, half_b = a.bfloat16(), b.bfloat16()
        runs["bf16"] = lambda: torch.mm(half_a, half_b)
    with torch.inference_mode():
        return measure_rates({name: (run, 2.0 * width**3) for name, run in runs.items()})


def _main() -> None:
    request = json.loads(sys.argv[1])
    name = request["instruction_set"]
    os.environ["ONEDNN_MAX_CPU_ISA"] = _NAMES[name]  # read when oneDNN first runs
    print(json.dumps(_measure(request["threads"], name in _WITH_BF16)), flush=True)


if __name__ == "__main__":
    _main()
