"""The bundle that ships with the package: muq-mini, a small MuQ with tags and tokens.

``make shipped`` writes it from the checkpoint in ``reference/checkpoints``.
"""

from pathlib import Path

SHIPPED_BUNDLE = Path(__file__).with_name("muq-mini")
EXPORT_YOUR_OWN = "muqrt export CHECKPOINT -o BUNDLE"
EXPORT_WORDS = "muqrt export OpenMuQ/MuQ-MuLan-large -o BUNDLE"
