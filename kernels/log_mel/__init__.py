"""Log-mel spectrograms."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
