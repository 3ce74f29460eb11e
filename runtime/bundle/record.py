"""What the records of a manifest share."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _inside_the_bundle(name: str) -> str:
    path = PurePosixPath(name)
    if not name or "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} points outside the bundle's folder")
    return name


RelativeFile = Annotated[str, AfterValidator(_inside_the_bundle)]


class Record(BaseModel):
    """Validated strictly: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TensorSpec(Record):
    """Name, dtype (numpy's name) and shape of a tensor; a string is a symbolic dimension."""

    name: str
    dtype: Literal["float16", "float32", "int32", "int64", "uint8"]
    shape: list[int | str]
