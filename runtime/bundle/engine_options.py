"""How an engine of TensorRT or a file for phones is built: the shapes it takes, its trade-offs."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, FiniteFloat, PositiveInt, ValidationError, model_validator

from ...common.validation import first_problem
from ...errors import UsageError
from ...kernels.log_mel.contract import MINIMUM_SAMPLES, SAMPLE_RATE_HZ
from .record import Record

Shape = tuple[int, ...]
# What TensorRT for RTX compiles for: Turing, Ampere (A100; A10 and GeForce 30), Ada, and Blackwell
# (GeForce 50; DGX Spark).
RtxTarget = Literal["sm75", "sm80", "sm86", "sm89", "sm120", "sm121"]
RTX_TARGETS: tuple[RtxTarget, ...] = get_args(RtxTarget)
RTX_DEFAULT: tuple[RtxTarget, ...] = ("sm86", "sm89", "sm120")
# The kinds of GPU without a number format, and the first that has it.
_LACKING = {"fp8": (("sm75", "sm80", "sm86"), "sm89"), "bf16": (("sm75",), "sm80")}

_NeverRun = Literal["never run on Apple hardware"]
NEVER_RUN: _NeverRun = "never run on Apple hardware"

_LEAST_SECONDS = MINIMUM_SAMPLES / SAMPLE_RATE_HZ
_MIB = 1 << 20  # bytes
_Seconds = Annotated[FiniteFloat, Field(gt=0, le=3_600)]
# The fused kernels have a row of blocks for each waveform, and CUDA so many rows.
_MOST_ROWS = 65_535
_Batch = Annotated[PositiveInt, Field(le=_MOST_ROWS)]


class Profile(Record):
    """The shapes that an engine takes, from the smallest to the largest; it is fastest at the
    likeliest.

    Attributes:
        window_seconds: shortest, likeliest and longest waveform.
        batch: smallest, likeliest and largest.
    """

    window_seconds: tuple[_Seconds, _Seconds, _Seconds] = (
        _LEAST_SECONDS,
        10.0,
        30.0,
    )
    batch: tuple[_Batch, _Batch, _Batch] = (1, 8, 32)

    @model_validator(mode="after")
    def _ascends(self) -> "Profile":
        for name, values in (("window_seconds", self.window_seconds), ("batch", self.batch)):
            if list(values) != sorted(values):
                raise ValueError(f"{name} is {values}: give the smallest, likeliest, largest")
        if self.waveforms[0][1] < MINIMUM_SAMPLES:
            raise ValueError(
                f"a window of {self.window_seconds[0]:g} s; the model needs at least "
                f"{_LEAST_SECONDS:.3f} s"
            )
        return self

    @property
    def waveforms(self) -> tuple[Shape, Shape, Shape]:
        """Smallest, likeliest and largest waveform: (batch, samples)."""
        first, second, third = (
            (batch, round(seconds * SAMPLE_RATE_HZ))
            for batch, seconds in zip(self.batch, self.window_seconds, strict=True)
        )
        return first, second, third

    def covers(self, waveform: Shape) -> bool:
        """Whether the engine takes a waveform of this shape, (batch, samples)."""
        smallest, _, largest = self.waveforms
        return all(a <= b <= c for a, b, c in zip(smallest, waveform, largest, strict=True))

    @property
    def lengths(self) -> str:
        """The waveforms' lengths, for errors."""
        least, _, most = (f"{seconds:g}" for seconds in self.window_seconds)
        return f"{least} to {most} s" if least != most else f"windows of {most} s"

    def __str__(self) -> str:
        least, likeliest, most = (f"{seconds:.4g}" for seconds in self.window_seconds)
        smallest, usual, largest = self.batch
        return (
            f"batches of {smallest} to {largest} of {least} to {most} s "
            f"(best: {usual} of {likeliest} s)"
        )


class Shaped(Record):
    """Options of an engine that takes some shapes only.

    Attributes:
        profiles: the shapes; a run takes the first profile that covers its own, so the narrow ones
            come first.
    """

    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)] = (Profile(),)

    def profile_of(self, waveform: Shape) -> int:
        """Which profile takes a waveform of this shape; -1 when none does."""
        covering = [i for i, profile in enumerate(self.profiles) if profile.covers(waveform)]
        return covering[0] if covering else -1


class PhonePlan(Record):
    """How a file for phones was made.

    Attributes:
        options: the lengths that it takes.
    """

    options: Shaped

    def summary(self) -> str:
        """What is known of it, for people."""
        return f"It takes {self.options.profiles[0].lengths}."


class CoreMlPlan(PhonePlan):
    """How a package for Core ML was made.

    Attributes:
        experimental: what its certificate cannot prove.
    """

    experimental: _NeverRun  # no default: a plan without it is another phone engine's

    def summary(self) -> str:
        """What is known of it, for people."""
        return (
            f"Experimental, {self.experimental}: its certificate is from an interpretation. "
            f"{super().summary()}"
        )


class RtxOptions(Shaped):
    """Options for building an engine of TensorRT for RTX.

    Attributes:
        targets: the kinds of GPU that it runs on.
    """

    targets: Annotated[tuple[RtxTarget, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _targets_go_together(self) -> "RtxOptions":
        if len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets {', '.join(self.targets)}: name each once")
        if "sm75" in self.targets and len(self.targets) > 1:
            raise ValueError("sm75 (Turing) is compiled for alone: build it into another bundle")
        return self

    def __str__(self) -> str:
        return "; ".join([*map(str, self.profiles), f"for {', '.join(self.targets)}"])


class EngineOptions(Shaped):
    """Options for building a TensorRT engine.

    Attributes:
        workspace_bytes: the most GPU memory that a layer may take while it runs.
        optimization_level: 0, built soon, to 5, built after a long search; TensorRT's own is 3.
        fused_kernels: muqrt's kernels for the mel and the tokens; otherwise TensorRT's own, of the
            plain operators.
        hardware_compatibility: the GPUs it runs on besides the kind it was built on.
        version_compatible: runs on later TensorRTs too.
        refit: the weights may be replaced by TensorRT's refitter.
        stripped: the plan lacks the weights that can be put back; they are read from the ONNX graph
            when it is loaded.
        weight_streaming: weights may stay in the host's memory, and go to the GPU layer by layer.
        timing_cache: a file of measurements that makes the next build shorter. Not in the manifest.
        inspect: also write what became of every layer, as JSON. Not in the manifest.
    """

    workspace_bytes: PositiveInt = 4096 * _MIB
    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    fused_kernels: bool = True
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    version_compatible: bool = False
    refit: bool = False
    stripped: bool = False
    weight_streaming: bool = False
    timing_cache: Annotated[Path | None, Field(exclude=True)] = None
    inspect: Annotated[bool, Field(exclude=True)] = False

    @model_validator(mode="after")
    def _kernels_are_for_one_architecture(self) -> "EngineOptions":
        if self.fused_kernels and self.hardware_compatibility == "ampere_plus":
            raise ValueError(
                "the fused kernels are compiled for one kind of GPU: --hardware-compatibility "
                "ampere_plus needs --no-plugins"
            )
        return self

    @model_validator(mode="after")
    def _stripped_weights_come_back_unchanged(self) -> "EngineOptions":
        if self.stripped and self.refit:
            raise ValueError(
                "a stripped plan is optimized for the weights that it gets back, so that others "
                "would give wrong numbers: --strip excludes --refit"
            )
        return self

    def __str__(self) -> str:
        facts = [
            *map(str, self.profiles),
            f"workspace {self.workspace_bytes // _MIB} MiB",
            f"optimization level {self.optimization_level}",
            "fused kernels" if self.fused_kernels else "no fused kernels",
        ]
        if self.hardware_compatibility != "none":
            facts.append(f"hardware compatibility {self.hardware_compatibility}")
        for name in ("version_compatible", "refit", "stripped", "weight_streaming"):
            facts += [name.replace("_", " ")] * getattr(self, name)
        return "; ".join(facts)


def engine_options(
    window_seconds: str | None = None, batch: str | None = None, **options: Any
) -> EngineOptions:
    """Options as the command line gives them, with one profile.

    Args:
        window_seconds, batch: the profile's, such as "5,10,30"; a single number allows no other.
        options: ``EngineOptions``'s others; None was not given.

    Raises:
        UsageError: values that are out of range, or do not go together.
    """
    values = {name: value for name, value in options.items() if value is not None}
    try:
        return EngineOptions(**values, profiles=(_profile(window_seconds, batch),))
    except ValidationError as error:
        raise UsageError(f"{first_problem(error)}.") from None


def rtx_options(
    precision: str,
    window_seconds: str | None = None,
    batch: str | None = None,
    targets: str | None = None,
) -> RtxOptions:
    """Options of TensorRT for RTX as the command line gives them, with one profile.

    Args:
        precision: the engine's.
        window_seconds, batch: as for ``engine_options``.
        targets: such as "sm86,sm89"; when None GeForce 30, 40 and 50 and their workstation and
            server relatives, but for those that lack the precision's numbers.

    Raises:
        UsageError: values that are out of range, or do not go together.
    """
    lacking, first = _LACKING.get(precision, ((), ""))
    usual = [target for target in RTX_DEFAULT if target not in lacking]
    chosen = usual if targets is None else [each.strip() for each in targets.split(",")]
    if unknown := [each for each in chosen if each not in RTX_TARGETS]:
        raise UsageError(f"targets {', '.join(unknown)}: choose among {', '.join(RTX_TARGETS)}.")
    if without := [each for each in chosen if each in lacking]:
        raise UsageError(
            f"targets {', '.join(without)}: these GPUs have no {precision}; from {first} on."
        )
    try:
        values: dict[str, Any] = {"targets": tuple(chosen)}
        return RtxOptions(**values, profiles=(_profile(window_seconds, batch),))
    except ValidationError as error:
        raise UsageError(f"{first_problem(error)}.") from None


def window_of(window_seconds: str | None, usual_seconds: float) -> Shaped:
    """The shapes of an artefact for windows of one length; a run takes one row after the other.

    Args:
        window_seconds: as the command line gives it.
        usual_seconds: the length when None.

    Raises:
        UsageError: not one number, or out of range.
    """
    text = f"{usual_seconds:g}" if window_seconds is None else window_seconds
    try:
        seconds = float(text)
    except ValueError:
        raise UsageError(
            f"window_seconds {text!r}: this file takes windows of one length; give one number."
        ) from None
    return lengths(seconds, seconds, seconds)


def lengths(shortest: float, usual: float, longest: float) -> Shaped:
    """The shapes of an artefact that takes waveforms of so many seconds, one row after the other.

    Raises:
        UsageError: out of range.
    """
    try:
        profile = Profile(window_seconds=(shortest, usual, longest), batch=(1, 1, _MOST_ROWS))
    except ValidationError as error:
        raise UsageError(f"{first_problem(error)}.") from None
    return Shaped(profiles=(profile,))


def _profile(window_seconds: str | None, batch: str | None) -> Profile:
    given = {"window_seconds": window_seconds, "batch": batch}
    values: dict[str, Any] = {
        name: _three(name, text) for name, text in given.items() if text is not None
    }
    return Profile(**values)


def _three(name: str, text: str) -> list[str]:
    numbers = text.split(",")
    if len(numbers) not in (1, 3):
        raise UsageError(
            f"{name} {text!r}: give the smallest, likeliest and largest, such as 5,10,30, or one "
            "number."
        )
    return numbers * (3 // len(numbers))
