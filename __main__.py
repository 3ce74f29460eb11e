"""``python -m muqrt``."""

from .cli import main

main()
