"""A pipeline of Ray Data adds the embeddings of ``muqrt embed`` to batches of tracks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.load import load

from .conftest import Cluster

pytestmark = [pytest.mark.full, pytest.mark.slow]
PIPELINE = """
import json, sys
import ray
import muqrt

ray.init(sys.argv[1])
rows = [{"key": key, "place": place} for place, key in enumerate(sys.argv[2:])]
tracks = ray.data.from_items(rows)
found = tracks.map_batches(muqrt.ray.Embedder, batch_size=2, concurrency=1).take_all()
print(json.dumps([[row["place"], row["embedding"].tolist(), row["error"]] for row in found]))
"""


def test_map_batches_adds_embeddings(catalogue: Path, cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"no audio" * 1000)
    tracks = [catalogue / "20.flac", bad, catalogue / "21.flac"]
    command = [*cluster.prefix, sys.executable, "-c", PIPELINE, cluster.address, *map(str, tracks)]
    done = subprocess.run(command, env=cluster.environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = {place: rest for place, *rest in json.loads(done.stdout.splitlines()[-1])}
    assert sorted(found) == [0, 1, 2]
    with load(threads=1) as model:
        for place in (0, 2):
            assert np.array_equal(np.float32(found[place][0]), model.embed(tracks[place]))
    assert np.isnan(found[1][0]).all() and found[1][1]
    assert not found[0][1] and not found[2][1]
