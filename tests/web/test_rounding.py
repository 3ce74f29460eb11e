"""Weights rounded to few bits: what a site has of them, and what the page makes of it."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import muqrt
from muqrt.runtime.audio import read as audio
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.web.proof import prove_site
from muqrt.web.rounding import (
    BITS,
    ROUNDED_PRECISION,
    RoundedTensor,
    _exponent,
    _planes,
    restored,
    round_weights,
    tags_of,
)

from .conftest import Launch
from .engine_page import EnginePage
from .visits import static_host

GRAPHS = [SHIPPED_BUNDLE / f"muq-{part}.onnx" for part in ("front-end", "encoder")]
FILES = ("muq.onnx.data", "tokens.onnx.data")
EXCERPT = Path(muqrt.__file__).parent / "examples/audio/ode_to_joy_band.ogg"
MOST_GZIP_BYTES = 12_000_000
SAME_SAMPLES = 1e-4
# Neither PyTorch nor onnx; and neither programs nor servers.
ALONE = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
import socket
socket.socket.connect = None
from muqrt.cli.app import main
sys.exit(main())
"""


@given(
    power=st.integers(-6, 15),
    type=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 99),
)
def test_a_weight_moves_by_at_most_a_step(power: int, type: str, seed: int) -> None:
    scaled = np.random.default_rng(seed).uniform(-1, 1, 99) * 2.0**power
    weights = scaled.astype(type)
    exponent = _exponent(weights.astype(np.float64))
    if exponent is None:  # a step would be too small for float16
        assert power <= -14 + BITS - 1
        return
    tensor = RoundedTensor("file", 3, weights.nbytes, type, exponent)
    file = b"abc" + _planes(weights, exponent) + b"d"
    found = restored({"file": file}, [tensor])["file"]
    assert (found[:3], found[-1:], len(found)) == (b"abc", b"d", weights.nbytes + 4)
    moved = np.frombuffer(found[3:-1], type).astype(np.float64) - weights
    step = np.abs(weights).max().astype(np.float64) * 2.0 ** (2 - BITS)
    assert np.abs(moved).max() <= step


def test_the_shipped_bundles_tags_hardly_move() -> None:
    files = {name: (SHIPPED_BUNDLE / name).read_bytes() for name in FILES}
    rounded, tensors = round_weights(*GRAPHS, files)
    assert {name: len(each) for name, each in rounded.items()} == {
        name: len(each) for name, each in files.items()
    }
    assert {each.type for each in tensors} == {"float16", "float32"}
    assert sum(each.bytes for each in tensors) > 11e6
    waveform = audio.load(EXCERPT)[:24_000]
    exact, found = (
        tags_of(*GRAPHS, each, waveform) for each in (files, restored(rounded, tensors))
    )
    limit = THRESHOLDS[ROUNDED_PRECISION].largest_tag_change
    assert 0 < np.abs(found - exact).max() <= limit


@pytest.fixture(scope="module")
def usual_site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """What ``muqrt web`` writes without further options, and its report."""
    folder = tmp_path_factory.mktemp("usual") / "site"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "web", "--output", str(folder), "--json"],
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.full
def test_the_usual_page_is_small_and_proves_itself(usual_site: tuple[Path, dict]) -> None:
    site, report = usual_site
    assert report["first_gzip_bytes"] <= MOST_GZIP_BYTES
    weights = (site / "model/muq.onnx.data").read_bytes()
    assert len(gzip.compress(weights)) < 0.65 * len(
        gzip.compress((SHIPPED_BUNDLE / "muq.onnx.data").read_bytes())
    )
    certificate, _ = prove_site(load_bundle(SHIPPED_BUNDLE), site)
    assert certificate.passed
    assert certificate.precision == ROUNDED_PRECISION


@pytest.mark.full
def test_the_page_has_the_weights_that_python_restores(
    chromium: Launch, usual_site: tuple[Path, dict]
) -> None:
    rounded, tensors = round_weights(
        *GRAPHS, {name: (SHIPPED_BUNDLE / name).read_bytes() for name in FILES}
    )
    waveform = audio.load(EXCERPT)[: 3 * 24_000]
    expected = tags_of(*GRAPHS, restored(rounded, tensors), waveform)
    with static_host(usual_site[0]) as address:
        engine = EnginePage(chromium().new_page(), address)
        scores = engine.tag(waveform, 24_000)["scores"]
    found = [scores[name] for name in engine.info["vocabulary"]]
    assert np.abs(np.array(found) - expected).max() <= SAME_SAMPLES
