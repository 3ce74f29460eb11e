"""A TensorRT artefact says what it was built for, and where it runs."""

from typing import Any

import pytest
from pydantic import ValidationError

from muqrt.errors import SessionError
from muqrt.runtime.bundle.engine_options import EngineOptions
from muqrt.runtime.bundle.manifest import Artefact
from muqrt.runtime.bundle.tensorrt_plan import TensorRTPlan

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
    with pytest.raises(ValidationError, match="its plan is not one for"):
        artefact(**wrong)


def test_a_stripped_plans_weights_are_among_the_files() -> None:
    stripped = {**PLAN, "options": EngineOptions(stripped=True)}
    with pytest.raises(ValidationError, match="names the file of its weights"):
        artefact(plan=stripped)
    with pytest.raises(ValidationError, match="names the file of its weights"):
        artefact(plan={**PLAN, "weights": "muq.plan"})
    with pytest.raises(ValidationError, match=r"muq\.onnx, with a plan's weights, has no SHA-256"):
        artefact(plan={**stripped, "weights": "muq.onnx"})
    with pytest.raises(ValidationError, match="outside the bundle"):
        artefact(plan={**stripped, "weights": "../muq.onnx"})
    hashes = {"muq.plan": "0" * 64, "muq.onnx": "1" * 64}
    assert artefact(plan={**stripped, "weights": "muq.onnx"}, files=hashes).plan is not None


@pytest.mark.parametrize(
    "wrong",
    [{"tensorrt": "10"}, {"tensorrt": "10.x"}, {"compute_capability": "sm90"}, {"gpu": None}],
)
def test_what_it_was_built_for_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TensorRTPlan(**{**PLAN, **wrong})


COMPATIBLE = {"version_compatible": True, "fused_kernels": False}


@pytest.mark.parametrize(
    ("options", "tensorrt", "compute_capability"),
    [
        ({}, "10.13.3.9", "9.0"),
        (COMPATIBLE, "10.13.3.9", "9.0"),
        (COMPATIBLE, "10.16.0.72", "9.0"),
        (COMPATIBLE, "11.2.1.2", "9.0"),
        ({"fused_kernels": False, "hardware_compatibility": "ampere_plus"}, "10.13.3.9", "8.6"),
        ({"fused_kernels": False, "hardware_compatibility": "ampere_plus"}, "10.13.3.9", "12.0"),
        ({"hardware_compatibility": "same_compute_capability"}, "10.13.3.9", "9.0"),
    ],
)
def test_where_a_plan_runs(options: dict[str, Any], tensorrt: str, compute_capability: str) -> None:
    TensorRTPlan(**PLAN, options=EngineOptions(**options)).require(tensorrt, compute_capability)


@pytest.mark.parametrize(
    ("options", "tensorrt", "compute_capability", "message"),
    [
        (None, "10.13.3.10", "9.0", r"is for TensorRT 10\.13\.3\.9 and here is 10\.13\.3\.10"),
        ({}, "10.14.1.48", "9.0", r"pip install tensorrt==10\.13\.3\.9"),
        (COMPATIBLE, "10.13.3.8", "9.0", r"10\.13\.3\.9 or later and here"),
        (COMPATIBLE, "10.9.0.34", "9.0", r"10\.13\.3\.9 or later and here"),
        (None, "10.13.3.9", "8.9", r"NVIDIA H100 .*this GPU has 8\.9"),
        ({"hardware_compatibility": "same_compute_capability"}, "10.13.3.9", "10.0", "has 10.0"),
        (
            {"fused_kernels": False, "hardware_compatibility": "ampere_plus"},
            "10.13.3.9",
            "7.5",
            r"this GPU has 7\.5",
        ),
    ],
)
def test_where_it_does_not(
    options: dict[str, Any] | None, tensorrt: str, compute_capability: str, message: str
) -> None:
    built = None if options is None else EngineOptions(**options)
    with pytest.raises(SessionError, match=message):
        TensorRTPlan(**PLAN, options=built).require(tensorrt, compute_capability)
