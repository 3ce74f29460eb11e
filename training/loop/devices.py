"""Where a training runs: one process or several, on CPUs or GPUs."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...common.environment import cpu_name
from ...errors import UsageError
from .plan import Precision, TrainingPlan

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Hardware:
    """What a training may use.

    Attributes:
        accelerator: "auto", "cpu" or "cuda".
        devices: processes on each node, a GPU each.
        nodes: machines.
        workers: further processes for each of these, reading audio ahead.
        threads: of each process on a CPU; the cores divided among the processes when None.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 2
    threads: int | None = None

    @property
    def processes(self) -> int:
        """On all nodes."""
        return self.devices * self.nodes


def launched(plan: TrainingPlan, hardware: Hardware) -> "Fabric":
    """Start the processes; this one goes on as one of them, the others run this program again
    with the same arguments.

    Raises:
        UsageError: the devices do not exist, or a batch cannot be divided among them.
    """
    if plan.batch_size % hardware.processes:
        raise UsageError(
            f"a batch of {plan.batch_size} cannot be divided among {hardware.processes} processes."
        )
    from lightning_fabric import Fabric

    on_cpu = hardware.accelerator == "cpu" or not torch.cuda.is_available()
    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy="ddp" if hardware.processes > 1 else "auto",
            precision=available_precision(plan.precision) if on_cpu else plan.precision,
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{hardware.devices} {hardware.accelerator} devices cannot be used: {error}"
        ) from None
    # Under mixed precision it would round the audio to bfloat16 before the mel is computed.
    fabric.strategy.precision.convert_input = lambda data: data  # type: ignore[method-assign]
    if fabric.device.type == "cpu":
        shared = max(1, torch.get_num_threads() // hardware.devices)
        torch.set_num_threads(hardware.threads or shared)
    return fabric


def available_precision(wanted: Precision) -> Precision:
    """What a CPU computes in: bfloat16 only where it has instructions for it; elsewhere it would
    be slower than float32."""
    if wanted == "32-true" or has_bf16():
        return wanted
    print(f"{cpu_name()} has no bfloat16: training in float32.", file=sys.stderr)
    return "32-true"


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16."""
    found = torch.cpu.get_capabilities()
    return any(value is True for name, value in found.items() if "bf16" in name)
