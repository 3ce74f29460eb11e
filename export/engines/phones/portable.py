"""What every file for phones is made from: the portable model with a bundle's level and outputs."""

from collections.abc import Sequence

from ....kernels.log_mel import contract
from ....reference.portable.log_mel import MelMatrices
from ....reference.portable.model import OUTPUTS, PortableMuQ
from ....runtime.bundle.manifest import Artefact
from ....runtime.bundle.record import TensorSpec
from ...parity.proof import Proof
from ...sources.head import TagHead


def portable_outputs(source: Artefact) -> Sequence[TensorSpec]:
    """Those of the fp32 ONNX artefact's outputs that files for phones have."""
    return [spec for spec in source.outputs if spec.name in OUTPUTS]


def portable_model(source: Artefact, proof: Proof) -> PortableMuQ:
    """The model in eval mode; its weights are the checkpoint's own."""
    matrices = MelMatrices(
        contract.first_stage(), contract.second_stage(), contract.mel_projection()
    )
    head = proof.sources.head
    names = [spec.name for spec in portable_outputs(source)]
    model = PortableMuQ(
        proof.checkpoint.model,
        matrices,
        source.level,
        names,
        head.head if isinstance(head, TagHead) else None,
    )
    return model.eval().requires_grad_(False)
