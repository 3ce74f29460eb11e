"""A TensorRT artefact says what it was built for, and is not run here."""

import pytest
from pydantic import ValidationError

from muqrt.errors import SessionError
from muqrt.runtime.bundle import Artefact, Bundle
from muqrt.runtime.open_session import open_session
from muqrt.runtime.plan import Plan

PLAN = {"tensorrt": "10.13.3.9", "compute_capability": "9.0", "gpu": "NVIDIA H100 80GB HBM3"}


def artefact(**changes: object) -> Artefact:
    facts = {
        "name": "plan-9.0",
        "engine": "tensorrt",
        "precision": "fp16",
        "target": "any",
        "file": "muq.plan",
        "files": {"muq.plan": "0" * 64},
        "level": 12,
        "inputs": [],
        "outputs": [],
        "plan": PLAN,
    }
    return Artefact(**{**facts, **changes})


def test_it_survives_the_manifest_and_counts_for_the_digest() -> None:
    written = artefact()
    assert Artefact.model_validate_json(written.model_dump_json()) == written
    assert artefact(plan={**PLAN, "tensorrt": "10.13.3.10"}).digest != written.digest


@pytest.mark.parametrize("wrong", [{"plan": None}, {"engine": "onnxruntime"}])
def test_tensorrt_and_nothing_else_has_a_plan(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="TensorRT's alone have a plan"):
        artefact(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"tensorrt": "10"}, {"tensorrt": "10.x"}, {"compute_capability": "sm90"}, {"gpu": None}],
)
def test_what_it_was_built_for_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan(**{**PLAN, **wrong})


def test_opening_it_says_who_runs_it() -> None:
    with pytest.raises(SessionError, match=r"'plan-9\.0' is a TensorRT plan.*muqrt repository"):
        open_session(Bundle.model_construct(), artefact())
