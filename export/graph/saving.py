"""An ONNX model as files: large weights beside the graph, so that a runtime can map them."""

from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

# Protobuf cannot hold 2 GiB; external data is mapped when it is loaded, not parsed, and a graph's
# parts share it.
_EXTERNAL_DATA_FROM_BYTES = 16 << 20
# Tensors below this stay in the graph, where shape inference can read them.
SMALL_TENSOR_BYTES = 1024
# Weights begin at whole pages, so that a runtime can map each.
_PAGE_BYTES = 4096


def save_onnx(
    model: onnx.ModelProto, path: Path, external_from_bytes: int | None = None
) -> list[Path]:
    """Write the model, its weights beside it if they are so large; returns every file written.

    Weights leave ``model`` one by one as they are written: serializing a full-size model whole,
    which onnx.save and even ByteSize do, takes 5 GB more memory.
    """
    if external_from_bytes is None:
        external_from_bytes = _EXTERNAL_DATA_FROM_BYTES
    weights_bytes = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights_bytes < external_from_bytes:
        path.write_bytes(model.SerializeToString())
        return [path]
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < SMALL_TENSOR_BYTES:
                continue
            file.seek(-(-file.tell() // _PAGE_BYTES) * _PAGE_BYTES)
            set_external_data(tensor, data.name, file.tell(), len(tensor.raw_data))
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return [path, data]
