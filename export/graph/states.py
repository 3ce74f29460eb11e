"""Find the hidden states in a written graph."""

import onnx

from ...runtime.bundle.parts import FRAMES


def state_values(model: onnx.ModelProto, level: int) -> list[str]:
    """Find the values of a graph that are the hidden states 0 to ``level``.

    A layer ends with its last node. The deepest level of the model is normalised after its layer.
    """
    last = {f"conformer/layer_{index}/": "" for index in range(level)}
    normalised = None
    for node in model.graph.node:
        if node.op_type == "Cast" or not node.name.startswith("conformer/"):
            continue
        scope = "/".join(node.name.split("/")[:2]) + "/"
        if scope in last:
            last[scope] = node.output[0]
        elif node.op_type == "LayerNormalization":
            normalised = node.output[0]
    values = [FRAMES, *last.values()]
    return [*values[:-1], normalised or values[-1]]
