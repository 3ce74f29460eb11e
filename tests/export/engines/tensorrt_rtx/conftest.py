import pytest


@pytest.fixture(autouse=True)
def library(rtx_library: None) -> None:
    """All of these tests need it."""
