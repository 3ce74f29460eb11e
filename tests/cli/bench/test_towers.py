"""The towers' benchmark: who takes part, and that a wrong answer has no speed."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.benchmarks.towers import run as module
from muqrt.errors import ParityError
from muqrt.runtime.bundle.manifest import load_bundle

Command = Callable[..., CompletedProcess[str]]


def test_everyone_takes_part(
    muqrt: Command, mulan_bundle: Path, mulan_checkpoint: Path, tmp_path: Path
) -> None:
    about = ("--checkpoint", mulan_checkpoint, "--threads", 1, "--rounds", 3)
    done = muqrt("bench", "towers", mulan_bundle, *about, "-o", tmp_path / "towers", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "towers.json").read_text())
    found = [(each["input"], each["contender"]) for each in report["times"]]
    texts = [f"text, {batch} of {tokens} tokens" for batch, tokens in module.TEXTS]
    clip = ["PyTorch eager", "onnx-fp32", "onnx-fp32, features alone"]
    expected = [("audio, a clip of 10 s", each) for each in clip]
    expected += [(text, each) for text in texts for each in ("PyTorch eager", "text-fp32")]
    assert found == expected
    for each in report["times"]:
        assert len(each["samples_seconds"]) == 3
        assert each["contender"].endswith("alone") == (each["worst_cosine"] is None)
        assert each["worst_cosine"] is None or each["worst_cosine"] > 0.99999
    page = (tmp_path / "towers.md").read_text()
    assert "text-fp32" in page and str(tmp_path) not in page


def test_a_wrong_answer_has_no_speed(
    mulan_bundle: Path, mulan_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(session: object, inputs: dict[str, np.ndarray]) -> Callable[[str], module.Run]:
        return lambda output: lambda: np.ones((1, 512), np.float32)

    monkeypatch.setattr(module, "_answers", wrong)
    with pytest.raises(ParityError, match="onnx-fp32 on audio, a clip of 10 s: not the reference"):
        module.run(load_bundle(mulan_bundle), str(mulan_checkpoint), 1, 3)


def test_a_muq_has_no_towers(muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    done = muqrt("bench", "towers", tiny_bundle, "--checkpoint", tiny_checkpoint)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no MuQ-MuLan" in done.stderr
