"""The sizes of a model deployed for PyTorch, kept in the file with its weights."""

from pydantic import Field

from ...bundle.record import Record

DESIGN = "muqrt_design"  # the key of a safetensors file's metadata


class HeadDesign(Record):
    """A tagging head: the levels it reads, its hidden neurons (0 for none), its tags, what is
    added to a variance before its root is taken, and its groups of tags, (start, end) each."""

    levels: list[int]
    hidden: int
    tags: int
    smallest_variance: float
    groups: list[tuple[int, int]] = Field(default_factory=list)


class TokenDesign(Record):
    """An RVQ with linear projections, of a level or (None) of the log-mel."""

    level: int | None
    frames_per_step: int
    stages: int
    codes: int
    code_width: int


class MixDesign(Record):
    """A weighted sum of levels, one weight for each."""

    levels: list[int]
    weights: list[float]


class Design(Record):
    """The whole model.

    Attributes:
        mean_db, std_db: what the log-mel is normalised by.
        channels: of the convolutions.
        frames_per_step: mel frames that become one step.
        width: of a hidden state.
        level: how many layers there are.
        heads, inner, kernel: of a layer: attention heads, feed-forward width, depthwise taps.
        norm_eps: of the last norm; None where the level is not the model's deepest.
        head: makes ``tags``.
        tokens: makes ``tokens``.
        mix: makes ``mix``.
    """

    mean_db: float
    std_db: float
    channels: int
    frames_per_step: int
    width: int
    level: int
    heads: int
    inner: int
    kernel: int
    norm_eps: float | None = None
    head: HeadDesign | None = None
    tokens: TokenDesign | None = None
    mix: MixDesign | None = None
