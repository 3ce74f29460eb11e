"""Where a training runs: one process or several, on CPUs or GPUs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from .plan import TrainingPlan

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
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 2

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

    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy="ddp" if hardware.processes > 1 else "auto",
            precision=plan.precision,
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{hardware.devices} {hardware.accelerator} devices cannot be used: {error}"
        ) from None
    return fabric
