"""What a TensorRT plan was built for."""

from typing import Annotated

from pydantic import Field

from .record import Record


class Plan(Record):
    """The only TensorRT and the only kind of GPU that a plan runs on.

    Attributes:
        tensorrt: the library's full version, as 10.13.3.9.
        compute_capability: the GPU's, as 9.0.
        gpu: the GPU's name, as its driver says it.
    """

    tensorrt: Annotated[str, Field(pattern=r"^\d+(\.\d+){1,3}$")]
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    gpu: str
