"""The bundle: its manifest, artefacts and certificates."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
