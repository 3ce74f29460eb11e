"""A Triton server as a child process."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
