"""What is published of GPUs: ``gpus.toml``, with a source for each figure."""

from functools import cache
from pathlib import Path

from pydantic import ConfigDict, PositiveFloat, TypeAdapter
from pydantic.dataclasses import dataclass

from ...common.config import read_toml
from ...errors import UsageError

_TF32_PRODUCTS = 3  # that together have float32's precision
_TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Gpu:
    """One GPU's published figures.

    Attributes:
        name: in full.
        driver_names: how its driver reports it.
        bandwidth_gb_s: of its memory, in 1e9 bytes a second.
        l2_mb: its L2 cache, in MiB.
        tera_per_second: of dense products, in 1e12 operations a second, by precision.
        source, l2_source: where they are published.
    """

    name: str
    driver_names: list[str]
    bandwidth_gb_s: PositiveFloat
    l2_mb: PositiveFloat
    tera_per_second: dict[str, PositiveFloat]
    source: str
    l2_source: str

    @property
    def bytes_per_second(self) -> float:
        """The memory's bandwidth."""
        return self.bandwidth_gb_s * 1e9

    @property
    def cache_bytes(self) -> float:
        """The size of its L2 cache."""
        return self.l2_mb * 2**20

    def rate(self, precision: str) -> float:
        """Operations a second of products in a precision, two for each multiply-add.

        Those in float32 can be three each in TF32, as our kernels have them: where that is faster,
        it is the rate.

        Raises:
            UsageError: it has no such products.
        """
        if precision not in self.tera_per_second:
            known = ", ".join(self.tera_per_second)
            raise UsageError(
                f"{self.name}: no rate is published for {precision}; choose one of: {known}."
            )
        tera = self.tera_per_second[precision]
        if precision == "fp32":
            tera = max(tera, self.tera_per_second.get("tf32", 0.0) / _TF32_PRODUCTS)
        return tera * 1e12


@cache
def gpus() -> dict[str, Gpu]:
    """Every GPU whose figures are known, by its short name."""
    return TypeAdapter(dict[str, Gpu]).validate_python(read_toml(_TABLE))


def gpu_named(name: str) -> Gpu:
    """A GPU by its short name, such as l4.

    Raises:
        UsageError: its figures are not known.
    """
    found = gpus().get(name.lower())
    if found is None:
        raise UsageError(f"--gpu {name!r}: choose one of: {', '.join(gpus())}.")
    return found


def gpu_of_driver(name: str) -> Gpu | None:
    """A GPU by the name that its driver reports; None if its figures are not known."""
    return next((each for each in gpus().values() if name in each.driver_names), None)
