"""What the records of a manifest share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Validated strictly: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TensorSpec(Record):
    """Name, dtype (numpy's name) and shape of a tensor; a string is a symbolic dimension."""

    name: str
    dtype: str
    shape: list[int | str]
