"""What a CPU computes in, and with how many threads."""

import pytest
import torch

from muqrt.training.loop import devices
from muqrt.training.loop.devices import Hardware, available_precision, has_bf16, launched
from muqrt.training.loop.plan import TrainingPlan


def test_bf16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "has_bf16", lambda: False)
    assert available_precision("bf16-mixed") == "32-true"
    assert "has no bfloat16: training in float32" in capsys.readouterr().err
    assert available_precision("32-true") == "32-true"
    monkeypatch.setattr(devices, "has_bf16", lambda: True)
    assert available_precision("bf16-mixed") == "bf16-mixed"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_the_processors_flags_decide(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    for value in (True, False):
        found = {flag: value, "cpu_name": "bf16"}
        monkeypatch.setattr(torch.cpu, "get_capabilities", found.copy)
        assert has_bf16() is value


def test_threads_are_those_asked_for() -> None:
    launched(TrainingPlan(steps=1), Hardware("cpu", threads=3))
    assert torch.get_num_threads() == 3
