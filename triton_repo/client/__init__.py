"""Clients of a Triton server that serves muqrt's models."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
