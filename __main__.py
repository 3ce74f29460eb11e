"""``python -m muqrt``."""

from .cli.app import main

main()
