"""What the benchmark of the operations measured."""

from dataclasses import dataclass

from ..measure.report import Report, Section
from ..measure.timing import Timing
from .work import Ceilings

_COLUMNS = (
    *("operation", "contender", "batch x s", "median, ms", "p10 to p90, ms", "times eager"),
    *("share of floor", "launches", "agreement"),
)
_METHOD = (
    "The contenders took turns on the same music, after a first call each whose answer had to be "
    "eager's: *agreement* is the share of equal tokens, near ties included, or a log-mel's "
    "relative L2 distance. "
    "*times eager* is the median over the rounds of eager's seconds over the contender's. *share "
    "of floor* is the least time for the bytes and operations below, at this device's measured "
    "ceilings, over the median."
)


@dataclass(frozen=True, kw_only=True)
class Measurement(Timing):
    """One contender on one operation and input.

    Attributes:
        operation: "log-mel" or "Mel-RVQ".
        window_seconds, batch: the input.
        bytes, flops: what the operation cannot do without.
        agreement: the share of tokens that are the reference's, as the parity gate counts, or the
            relative L2 distance from eager's log-mel.
        neighbours_share: of all cores' time, taken by other programs meanwhile, 0 to 1.
        share_of_floor: for a fused kernel, the least time that its bytes and operations take on
            this device, over the median.
        launches: for a fused kernel, how many kernels a call starts.
    """

    operation: str
    window_seconds: float
    batch: int
    bytes: int
    flops: int
    agreement: float
    neighbours_share: float
    share_of_floor: float | None
    launches: int | None


@dataclass(frozen=True, kw_only=True)
class KernelReport(Report):
    """One run of ``muqrt bench kernels``.

    Attributes:
        device: its name.
        threads: CPU threads of each contender.
        ceilings: the highest rates of the device.
        measurements: every contender on every operation and input.
        encoder_seconds: on a GPU, what the full-size encoder takes for each input.
    """

    device: str
    threads: int
    ceilings: Ceilings
    measurements: list[Measurement]
    encoder_seconds: dict[str, float]

    def results(self) -> list[Section]:
        """One table: a row for each contender on each operation and input."""
        rows = [
            [
                each.operation,
                each.contender,
                f"{each.batch} x {each.window_seconds:g}",
                *each.cells(scale=1000),
                "" if each.share_of_floor is None else f"{each.share_of_floor:.0%}",
                "" if each.launches is None else str(each.launches),
                f"{each.agreement:.2g}" if each.agreement < 0.5 else f"{each.agreement:.4%}",
            ]
            for each in self.measurements
        ]
        title = f"Mel and Mel-RVQ on {self.device}, threads: {self.threads}"
        return [Section(title, _COLUMNS, rows, _METHOD)]

    def remarks(self) -> list[str]:
        """The device's ceilings, and how busy it was."""
        encoder = "The full-size encoder, PyTorch eager, float16"
        copied = self.ceilings.bytes_per_second / 1e9
        computed = self.ceilings.flops_per_second / 1e12
        busiest = max(each.neighbours_share for each in self.measurements)
        return [
            f"Ceilings: {copied:.4g} GB/s copied, {computed:.3g} TFLOP/s in a product of float32 "
            "matrices.",
            *(
                f"{encoder}: {seconds * 1000:.4g} ms for {cell}."
                for cell, seconds in self.encoder_seconds.items()
            ),
            f"Other programs took up to {busiest:.0%} of the cores' time meanwhile.",
        ]

    def details(self) -> list[Section]:
        """The bytes and operations of each operation and input."""
        work = {
            f"{each.operation}, {each.batch} x {each.window_seconds:g} s": each
            for each in self.measurements
        }
        rows = [[name, f"{each.bytes:,}", f"{each.flops:,}"] for name, each in work.items()]
        return [Section("Bytes and operations", ("input", "bytes", "operations"), rows)]
