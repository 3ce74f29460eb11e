"""``muqrt export``, ``build`` and ``parity``."""

import os

# PyTorch's threads spin while they wait for each other. Where other programs want the cores too,
# calibrating took twenty times as long. It is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
