"""A bundle behind Ray Serve answers over HTTP with the numbers of ``muqrt embed``."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.load import load

from .conftest import RAY, Cluster

pytestmark = [pytest.mark.full, pytest.mark.slow]
MOST_BODY_BYTES = 1_000_000
# Run beside the cluster: what each body is answered.
CLIENT = f"""
import json, sys, urllib.error, urllib.request
from pathlib import Path
import ray
from ray import serve
import muqrt

def post(body):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8123/", body) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

ray.init(sys.argv[1])
serve.start(http_options={{"host": "127.0.0.1", "port": 8123}})
serve.run(muqrt.ray.application(most_body_bytes={MOST_BODY_BYTES}))
bodies = [Path(sys.argv[2]).read_bytes(), b"no audio" * 1000, bytes({MOST_BODY_BYTES} + 1)]
answers = [post(body) for body in bodies]
serve.shutdown()
print(json.dumps(answers))
"""


def test_a_bundle_is_served(catalogue: Path, cluster: Cluster) -> None:
    if not (RAY / "fastapi").is_dir():
        pytest.skip("Ray Serve is not installed; make test-all installs it")
    track = catalogue / "20.flac"
    command = [*cluster.prefix, sys.executable, "-c", CLIENT, cluster.address, str(track)]
    done = subprocess.run(command, env=cluster.environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    found, text, large = json.loads(done.stdout.splitlines()[-1])
    with load(threads=1) as model:
        assert found[0] == 200
        assert np.array_equal(np.float32(found[1]["embedding"]), model.embed(track))
        tags = model.tag(track)
        scores = dict(zip(tags.tagging.vocabulary, tags.scores.tolist(), strict=True))
        assert found[1]["tags"] == scores
    assert text[0] == 422 and "/" not in text[1]["error"]
    assert large[0] == 413 and str(MOST_BODY_BYTES) in large[1]["error"].replace(",", "")
