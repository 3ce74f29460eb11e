"""The chart of a long stream stays small, and every moment of it is in there."""

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

import muqrt

WEB = Path(muqrt.__file__).parent / "web"
# Hops whose only score is when they begin, in seconds.
SCRIPT = """
import { runnerImport } from "vite";
const { module } = await runnerImport("./src/page/timeline.ts");
const timeline = new module.StreamTimeline();
for (let i = 0; i < 100_000; i++) {
  const hop = { start_seconds: i / 2, end_seconds: i / 2 + 2, silent: i % 4 === 0 };
  timeline.add({ hop, scores: Float32Array.of(i / 2) });
}
const plain = timeline.stretches.map((each) => ({ ...each, scores: [...each.scores] }));
console.log(JSON.stringify(plain));
"""


@pytest.mark.full
def test_neighbours_are_joined() -> None:
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "vite").is_dir():
        pytest.skip("no Node.js with the page's packages: cd web && npm ci")
    command = [node, "--input-type=module", "--eval", SCRIPT]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stretches = json.loads(done.stdout)
    assert len(stretches) <= 4096
    assert (stretches[0]["start_seconds"], stretches[-1]["end_seconds"]) == (0, 50_001.5)
    assert all(left["end_seconds"] == right["start_seconds"] for left, right in pairwise(stretches))
    assert not any(each["silent"] for each in stretches[:-2000])  # not all of it was
    for each in stretches[1:-1]:
        middle = (each["start_seconds"] + each["end_seconds"]) / 2
        assert each["scores"] == [pytest.approx(middle - 1, abs=0.01 + 1e-6 * middle)]
