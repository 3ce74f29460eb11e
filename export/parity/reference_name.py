"""What certificates call the reference."""

from importlib.metadata import version

from ...reference.checkpoint import Checkpoint


def reference_name(checkpoint: Checkpoint) -> str:
    """PyTorch's version and the checkpoint's name."""
    return f"PyTorch {version('torch')} fp32 eager, checkpoint {checkpoint.name}"
