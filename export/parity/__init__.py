"""Measuring how close an artefact's outputs are to PyTorch's."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
