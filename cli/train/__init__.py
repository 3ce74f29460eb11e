"""``muqrt train``."""

import os

# PyTorch's threads spin while they wait for each other: where other programs want the cores too,
# that took six times as much processor time as the work. It is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
