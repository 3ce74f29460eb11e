"""muqrt puts a trained MuQ into production.

    import muqrt
    model = muqrt.load("bundle/")
    embedding = model.embed("song.flac")    # (width,)
    features = model.features("song.flac")  # (steps, width), 25 a second

Every public name is an attribute of this package; the command line is ``muqrt --help``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .common.moved import answer_old_imports
from .errors import (
    AudioError,
    BuildError,
    BundleError,
    CheckpointError,
    HubError,
    KernelError,
    MissingDependencyError,
    MuqrtError,
    ParityError,
    ServerError,
    SessionError,
    UsageError,
)

if TYPE_CHECKING:
    from .catalogue.job import open_job
    from .catalogue.spark import run_on_spark
    from .runtime.audio.damage import Tolerance
    from .runtime.audio.read import load as read_audio
    from .runtime.encoder import Encoder
    from .runtime.load import load, open_bundle
    from .runtime.model import Model
    from .runtime.search.index import open_index
    from .runtime.streaming.engine import Streaming
    from .runtime.streaming.events import Smoothing, TagEvents
    from .runtime.streaming.sources.chunks import from_file as chunks_from_file
    from .runtime.streaming.sources.microphone import from_microphone as chunks_from_microphone
    from .runtime.streaming.sources.radio import from_url as chunks_from_url
    from .runtime.streaming.stream import SlidingConfig
    from .runtime.text.labels import LabelSet
    from .runtime.text.zero_shot import LabelTagger
    from .triton_repo.client.endpoint import Endpoint
    from .triton_repo.client.session import TritonSession
    from .triton_repo.client.streaming import StreamingClient
    from .triton_repo.client.streaming_async import AsyncStreamingClient
    from .triton_repo.client.zero_shot import embed_text, tag_labels

    __version__: str

__all__ = [
    "AsyncStreamingClient",
    "AudioError",
    "BuildError",
    "BundleError",
    "CheckpointError",
    "Encoder",
    "Endpoint",
    "HubError",
    "KernelError",
    "LabelSet",
    "LabelTagger",
    "MissingDependencyError",
    "Model",
    "MuqrtError",
    "ParityError",
    "ServerError",
    "SessionError",
    "SlidingConfig",
    "Smoothing",
    "Streaming",
    "StreamingClient",
    "TagEvents",
    "Tolerance",
    "TritonSession",
    "UsageError",
    "__version__",
    "chunks_from_file",
    "chunks_from_microphone",
    "chunks_from_url",
    "embed_text",
    "load",
    "open_bundle",
    "open_index",
    "open_job",
    "read_audio",
    "run_on_spark",
    "tag_labels",
]

# A public name, the module it is in, and what it is called there.
_LAZY = {
    "AsyncStreamingClient": (".triton_repo.client.streaming_async", "AsyncStreamingClient"),
    "Encoder": (".runtime.encoder", "Encoder"),
    "Endpoint": (".triton_repo.client.endpoint", "Endpoint"),
    "LabelSet": (".runtime.text.labels", "LabelSet"),
    "LabelTagger": (".runtime.text.zero_shot", "LabelTagger"),
    "Model": (".runtime.model", "Model"),
    "SlidingConfig": (".runtime.streaming.stream", "SlidingConfig"),
    "Smoothing": (".runtime.streaming.events", "Smoothing"),
    "Streaming": (".runtime.streaming.engine", "Streaming"),
    "StreamingClient": (".triton_repo.client.streaming", "StreamingClient"),
    "TagEvents": (".runtime.streaming.events", "TagEvents"),
    "Tolerance": (".runtime.audio.damage", "Tolerance"),
    "TritonSession": (".triton_repo.client.session", "TritonSession"),
    "chunks_from_file": (".runtime.streaming.sources.chunks", "from_file"),
    "chunks_from_microphone": (".runtime.streaming.sources.microphone", "from_microphone"),
    "chunks_from_url": (".runtime.streaming.sources.radio", "from_url"),
    "embed_text": (".triton_repo.client.zero_shot", "embed_text"),
    "load": (".runtime.load", "load"),
    "open_bundle": (".runtime.load", "open_bundle"),
    "open_index": (".runtime.search.index", "open_index"),
    "open_job": (".catalogue.job", "open_job"),
    "read_audio": (".runtime.audio.read", "load"),
    "run_on_spark": (".catalogue.spark", "run_on_spark"),
    "tag_labels": (".triton_repo.client.zero_shot", "tag_labels"),
}

answer_old_imports()


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that importing muqrt costs nothing.
    if name in _LAZY:
        module, attribute = _LAZY[name]
        found = getattr(import_module(module, __name__), attribute)
    elif name == "ray":
        found = import_module(".catalogue.ray", __name__)
    elif name == "__version__":
        found = import_module("importlib.metadata").version(__name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
