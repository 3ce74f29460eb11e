"""The parts of a model, by the names of its graph's nodes."""

MEL, FRONT_END, ATTENTION = "mel", "front end", "attention"
FEED_FORWARD, CONVOLUTION, ENCODER_REST = "feed-forward", "convolution module", "rest of encoder"
OTHER = "no scope"
PARTS = (MEL, FRONT_END, ATTENTION, FEED_FORWARD, CONVOLUTION, ENCODER_REST, OTHER)
# A part, by a scope of its nodes' names; the first that fits.
SCOPES = {
    "front_end": FRONT_END,
    "self_attn": ATTENTION,
    "ffn1": FEED_FORWARD,
    "ffn2": FEED_FORWARD,
    "conv_module": CONVOLUTION,
    "conformer": ENCODER_REST,
}


def part_of(name: str) -> str | None:
    """The part of the model that a node belongs to, by its name; None without scopes."""
    scopes = name.split("/")[:-1]
    if not scopes:
        return None
    return next((part for scope, part in SCOPES.items() if scope in scopes), OTHER)
