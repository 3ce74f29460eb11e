"""What Ray Data calls, called without it; and through it where it is installed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

import muqrt
from muqrt.errors import BundleError, UsageError


@pytest.fixture
def songs(tmp_path: Path) -> list[str]:
    """Two tracks, and between them a file that is none."""
    names = [str(tmp_path / name) for name in ("a.wav", "bad.wav", "b.wav")]
    for name, hertz in zip(names, (200, 0, 900), strict=True):
        soundfile.write(name, np.sin(np.arange(30_000) * hertz / 3_800) * 0.3, 24_000)
    Path(names[1]).write_text("no audio")
    return names


def test_batches_get_columns_and_reasons(songs: list[str], tagged_bundle: Path) -> None:
    embed = muqrt.ray.Embedder(tagged_bundle, ["embedding", "tags"])
    batch = {"key": np.array(songs), "id": np.array([1, 2, 3])}
    found = embed(batch)
    assert [*found] == ["key", "id", "embedding", "tags", "error"]
    assert [bool(each) for each in found["error"]] == [False, True, False]
    assert "not audio" in found["error"][1]
    with muqrt.load(tagged_bundle, threads=1) as model:
        for row in (0, 2):
            assert np.array_equal(found["embedding"][row], model.embed(songs[row]))
            assert np.array_equal(found["tags"][row], model.tag(songs[row]).scores)
    assert np.isnan(found["embedding"][1]).all() and np.isnan(found["tags"][1]).all()


def test_outputs_that_cannot_be_had(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="embedding, tags, latents"):
        muqrt.ray.Embedder(tiny_bundle, ["tokens"])
    with pytest.raises(BundleError):
        muqrt.ray.Embedder(tiny_bundle, ["latents"])
