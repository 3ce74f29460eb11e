"""A small model."""

import pytest

from muqrt.reference.mulan.model import MuLan
from muqrt.reference.mulan.random_model import random_mulan


@pytest.fixture(scope="session")
def tiny_mulan() -> MuLan:
    """Random weights. Do not change them."""
    return random_mulan("tiny")
