"""Plans of the fake TensorRT, in bundles."""

from pathlib import Path
from typing import Any

from muqrt.common.files import sha256
from muqrt.export.engines.tensorrt.build import engine_from_onnx
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tensorrt_plan import TensorRTPlan

from ....fake_tensorrt import WIDTH
from ....framing import muq_framing, one_artefact

OPTIONS = EngineOptions(
    profiles=(
        Profile(window_seconds=(1.0, 1.0, 1.0), batch=(1, 2, 2)),
        Profile(window_seconds=(0.05, 0.5, 2.0), batch=(1, 1, 3)),
    ),
    fused_kernels=False,
)


def built_plan(folder: Path) -> Path:
    """A plan that the fake TensorRT built, which has to be in place of the module."""
    graph, plan = folder / "muq.onnx", folder / "muq.plan"
    graph.touch()
    plan.write_bytes(engine_from_onnx(graph, OPTIONS))
    return plan


def plan_bundle(plan: Path, **changes: Any) -> Bundle:
    """An uncertified bundle with a plan; ``changes`` are of what its manifest says of it."""
    facts = {
        "tensorrt": "10.16.0.72",
        "compute_capability": "9.0",
        "gpu": "Fake GPU",
        "options": OPTIONS,
    }
    files = {plan.name: changes.pop("sha256", sha256(plan))}
    if (weights := changes.get("weights")) is not None:
        files[weights] = sha256(plan.with_name(weights))
    return one_artefact(
        plan.parent,
        muq_framing(24_000),
        name="tensorrt-fp16-9.0",
        engine="tensorrt",
        precision="fp16",
        target="any",
        file=plan.name,
        files=files,
        inputs=[TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])],
        outputs=[
            TensorSpec(name="features", dtype="float32", shape=["batch", "steps", WIDTH]),
            TensorSpec(name="embedding", dtype="float32", shape=["batch", WIDTH]),
        ],
        plan=TensorRTPlan(**{**facts, **changes}),
    )
