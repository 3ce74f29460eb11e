"""What a served model and its clients agree on."""

from ...common.moved import names_of

__getattr__ = names_of(__name__)
