"""The bundle that ships with the package: muq-mini, a small MuQ with tags and tokens.

``make shipped`` writes it from the checkpoint in ``reference/checkpoints``.
"""

from pathlib import Path

SHIPPED_BUNDLE = Path(__file__).with_name("muq-mini")
EXPORT_YOUR_OWN = "muqrt export CHECKPOINT -o BUNDLE"
# Answers would take the package over the size that it may have.
WITHOUT_ANSWERS = (
    "the bundle that comes with muqrt holds no answers of the reference, to keep the package "
    "small; make one that does from its checkpoint, which is in muqrt's repository: "
    "muqrt export reference/checkpoints/muq-mini -o mini/, and then muqrt parity mini/"
)
EXPORT_WORDS = "muqrt export OpenMuQ/MuQ-MuLan-large -o BUNDLE"


def is_shipped(folder: Path) -> bool:
    """Whether a folder is that bundle's."""
    return folder.resolve() == SHIPPED_BUNDLE.resolve()
