"""Read and write the answers of the reference that a bundle stores."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import sha256
from ...errors import BundleError
from ..bundle.manifest import Bundle, StoredAnswers
from ..bundle.shipped import WITHOUT_ANSWERS, is_shipped

WAVEFORM_FULL_SCALE = 2.0**15
# Of what float16 keeps of the reference's own rounding error: far from its limits on both sides.
ERROR_SCALE = 2.0**12
EXPECTED, ERROR = "expected", "error"
_KINDS = "if"  # integers and floats, nothing that needs pickle
_ENCRYPTED = 1  # a member's flag
# What zipfile raises on a file that it did not write.
_UNREADABLE = (OSError, RuntimeError, MemoryError, NotImplementedError, zipfile.BadZipFile)


class Answers:
    """The stored answers of a bundle, read array by array.

    Args:
        bundle: with answers; their hash is verified.

    Raises:
        BundleError: the bundle has none, or the file is missing, changed or not what it should be.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.answers is None:
            if is_shipped(bundle.folder):
                raise BundleError(f"{bundle.folder}: {WITHOUT_ANSWERS}")
            raise BundleError(
                f"{bundle.folder}: holds no answers of the reference (it was exported without "
                "them, or by an older muqrt). Name what it was made from: muqrt parity "
                f"{bundle.folder} --checkpoint CHECKPOINT"
            )
        self.record: StoredAnswers = bundle.answers
        self._path = bundle.path(self.record.file)
        if sha256(self._path) != self.record.sha256:
            raise BundleError(
                f"{bundle.folder}: {self.record.file} has changed since it was exported (its "
                "SHA-256 is not the manifest's). Export the bundle again, or copy it again."
            )
        self._sizes = _sizes(self._path)

    def waveform(self, index: int) -> np.ndarray:
        """An excerpt, (batch, samples) float32 at the model's sample rate."""
        stored = self.arrays(str(index))["waveform"]
        return (stored / np.float32(WAVEFORM_FULL_SCALE)).astype(np.float32)

    def arrays(self, folder: str) -> dict[str, np.ndarray]:
        """All arrays below a name such as ``0/tokens``, by what follows it."""
        names = [name for name in self._sizes if name.startswith(f"{folder}/")]
        return {name.removeprefix(f"{folder}/"): self._read(name) for name in names}

    def _read(self, name: str) -> np.ndarray:
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{name}.npy") as file:
                _require_header(file, self._sizes[name])
            with np.load(self._path, allow_pickle=False) as arrays:
                found: np.ndarray = arrays[name]
        except (*_UNREADABLE, ValueError, KeyError) as error:
            raise BundleError(f"{self._path}: {name} cannot be read ({error}).") from None
        return found


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what ``Answers`` reads; equal arrays give equal bytes."""
    with path.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]


def _sizes(path: Path) -> dict[str, int]:
    """The size of each array's member, by its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (*_UNREADABLE, ValueError) as error:
        raise BundleError(f"{path}: not stored answers ({error}). Export again.") from None
    # Nothing that muqrt writes is compressed or encrypted; and so no array is larger than the file.
    most = path.stat().st_size
    for each in members:
        if each.compress_type != zipfile.ZIP_STORED or each.flag_bits & _ENCRYPTED:
            how = "it is compressed or encrypted"
        elif not each.file_size == each.compress_size <= most:
            how = f"{each.filename} is said to have {each.file_size} bytes"
        else:
            continue
        raise BundleError(f"{path}: not stored answers ({how}). Export again.")
    return {each.filename.removesuffix(".npy"): each.file_size for each in members}


def _require_header(file: Any, size_bytes: int) -> None:
    """Raise ValueError unless a member's header promises no more than the member has."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(file))
    if read is None:
        raise ValueError("not an array")
    shape, _, dtype = read(file)
    count = 1
    for length in shape:
        count *= length
    if dtype.kind not in _KINDS or count * dtype.itemsize > size_bytes:
        raise ValueError(f"an array of {dtype} {shape} in {size_bytes} bytes")
