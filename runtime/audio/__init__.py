"""Audio: files and arrays to mono waveforms at the model's rate."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
