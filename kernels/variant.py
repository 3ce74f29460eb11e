"""A fused kernel with everything fixed that it is compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Variant:
    """What an ahead-of-time build needs to know.

    Attributes:
        name: unlike any other's, such as "log_mel_fp16".
        kernel: the function in the Triton language.
        signature: the type of each argument that is given at a launch, in order: "*fp32", "i32".
        constants: the values of all other parameters.
        aligned: arguments whose address or value is a multiple of 16.
        num_warps: of a program.
        num_stages: of its software pipelines.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    aligned: frozenset[str] = frozenset()
    num_warps: int = 4
    num_stages: int = 2
