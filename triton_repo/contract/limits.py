"""The largest request that each served model answers."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, FiniteFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ...common.validation import first_problem
from ...errors import BundleError
from ...runtime.text.labels import MOST_LABELS

# The parameter of a model's configuration: the limits that concern it, as JSON.
LIMITS = "muqrt.limits"
# What a waveform may take by default; a batch of four windows takes as much.
MOST_WINDOWS = 4
# Twice what was measured for a second of audio, batches included, with attention in blocks; without
# blocks it is as much at two minutes.
BYTES_PER_SECOND = 8_000_000
# A waveform may take this part of the memory; the models and other requests take the rest.
_MEMORY_SHARE = 4

_Seconds = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class Limits:
    """Bounds of a request; one beyond them is refused as INVALID_ARGUMENT before anything runs.

    Attributes:
        max_seconds: the longest waveform for models that run it in one piece (``muq`` and
            ``mulan_audio``). When None: four windows, or what a quarter of this machine's memory
            holds if that is less, and at least every length that is warmed up.
        max_track_seconds: the longest waveform for ``zeroshot``, which cuts it into clips, and the
            longest file for ``track``.
        max_file_bytes: the largest file for ``track``.
        max_labels: the most labels in a question to ``zeroshot``.
        max_text_bytes: the longest label, template or text, in bytes of UTF-8.
        max_question_bytes: the most bytes of UTF-8 that a question's labels have in all their
            templates.
        max_tokens: the longest text for ``mulan_text_tower``, in tokens; the model's own limit when
            None.
    """

    max_seconds: _Seconds | None = None
    max_track_seconds: _Seconds = 3_600.0
    max_file_bytes: PositiveInt = 1 << 28
    max_labels: Annotated[PositiveInt, Field(le=MOST_LABELS)] = MOST_LABELS
    max_text_bytes: PositiveInt = 1 << 16
    max_question_bytes: PositiveInt = 1 << 22
    max_tokens: PositiveInt | None = None

    def to_parameters(self, *names: str) -> dict[str, str]:
        """Some of the limits as a model's parameters."""
        return {LIMITS: _LIMITS.dump_json(self, include=set(names)).decode()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "Limits":
        """Read a model's limits; the defaults where it has none, as in older repositories.

        Raises:
            BundleError: the parameter is not what muqrt writes.
        """
        try:
            return _LIMITS.validate_json(parameters.get(LIMITS, "{}"))
        except ValidationError as error:
            raise BundleError(
                f"{LIMITS} cannot be read: {first_problem(error, 'the parameter')}. Write the "
                "model again with: muqrt repository"
            ) from None


_LIMITS = TypeAdapter(Limits)


def longest_seconds(
    window_seconds: float, usual_seconds: float, instances: int, memory_bytes: int | None
) -> float:
    """The default of ``max_seconds``.

    Args:
        window_seconds: the model's window.
        usual_seconds: the longest waveform that clients are expected to send.
        instances: copies of the model, which may all run at once.
        memory_bytes: of the machine that serves; None where it is not known.
    """
    seconds = MOST_WINDOWS * window_seconds
    if memory_bytes is not None:
        share = memory_bytes / _MEMORY_SHARE / instances
        seconds = min(seconds, share / BYTES_PER_SECOND)
    return max(seconds, usual_seconds)
