"""The log-mel as a call of its local function."""

from ..kernels import log_mel_tables
from ..kernels.log_mel_onnx import NAME
from ..kernels.onnx_nodes import DOMAIN, PLUGIN
from ..reference.mel import LogMel
from .graph import Graph


def log_mel(graph: Graph, module: LogMel, waveform: str) -> str:
    """(batch, samples) -> (batch, mels, frames); the model needs ``log_mel_function``."""
    tables = graph.weight("log_mel.tables", log_mel_tables.tables())
    scale = {"mean_db": module.mean_db, "std_db": module.std_db}
    return graph.op(NAME, waveform, tables, domain=DOMAIN, **scale, **PLUGIN)
