"""What TensorRT for RTX has compiled on this machine's GPU, kept from one start to the next."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from ....common.files import atomic_file, cache_folder
from ..cuda.device import CudaDevice

_FOLDER = "tensorrt-rtx"
# Far above any real cache; keeps a file that somebody put there from filling the memory.
_LIMIT_BYTES = 1 << 30


class RuntimeCacheFile:
    """The file of an engine's runtime cache in the user's cache folder.

    Its name is made of the engine, the library, the driver and the GPU: another of any of these has
    a file of its own. What cannot be read or written is compiled again, and that is all.

    Args:
        engine_sha256: the engine's hash.
        version: the library's.
        gpu: where it runs.
        folder: in place of the user's cache folder.
    """

    def __init__(
        self, engine_sha256: str, version: str, gpu: CudaDevice, folder: Path | None = None
    ) -> None:
        facts = [engine_sha256, version, gpu.cuda, gpu.name, gpu.compute_capability]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        self.path = cache_folder(folder) / _FOLDER / f"{key}.cache"
        self._saved = b""

    def read(self) -> bytes:
        """The cache, as the library serialized it; empty where there is none."""
        with suppress(OSError):
            with self.path.open("rb") as file:
                found = file.read(_LIMIT_BYTES + 1)
            self._saved = found if len(found) <= _LIMIT_BYTES else b""
        return self._saved

    def write(self, content: bytes) -> None:
        """Keep the cache, whole or not at all, if it is another than before."""
        if content == self._saved:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.path) as temporary:
                temporary.write_bytes(content)
            self._saved = content
