import pytest

from muqrt.errors import MissingDependencyError
from muqrt.runtime.engines.tensorrt.library import tensorrt_rtx


@pytest.fixture(autouse=True)
def library() -> None:
    try:
        tensorrt_rtx()
    except MissingDependencyError as error:
        pytest.skip(str(error))
