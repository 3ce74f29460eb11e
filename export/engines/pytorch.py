"""An artefact for PyTorch: the reference's weights, folded, in a safetensors file."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...reference.head import SMALLEST_VARIANCE, Head
from ...reference.stored import save_tensors
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.manifest import Bundle
from ...runtime.bundle.scoring import SCORES
from ...runtime.engines.pytorch.design import DESIGN, Design, HeadDesign, MixDesign, TokenDesign
from ...runtime.engines.pytorch.model import DTYPES, DeployedMuQ
from ..bundle.candidate import alone, following, fp32_source
from ..bundle.recipe import PrecisionRecipe
from ..graph.rvq import is_linear
from ..parity.proof import Proof
from ..sources.head import TagHead
from ..sources.mix import LevelMix
from ..sources.rvq import TokenRvq
from ..sources.sources import Sources
from .pytorch_weights import deployed_weights

_LEFT_OUT = (LATENTS, SCORES)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class TorchRecipe(PrecisionRecipe):
    """The artefact ``torch-<precision>``.

    Its level and outputs are those of the bundle's fp32 ONNX artefact, without latents and scores;
    its weights are its own.
    """

    known = PRECISIONS
    called = "PyTorch"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Write the folded weights.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. CheckpointError: the RVQ has projections
                of several layers.
        """
        sources = proof.sources
        if sources.rvq is not None and not is_linear(sources.rvq):
            raise CheckpointError(
                f"{sources.rvq.name}: an RVQ with projections of several layers, which cannot be "
                "folded; PyTorch's artefacts have no other. Choose an artefact for ONNX Runtime."
            )
        source = fp32_source(bundle)
        path = folder / f"muq-torch-{self.precision}.safetensors"
        design = _design(proof.checkpoint, source.level, sources)
        with torch.device("meta"):
            model = DeployedMuQ(design, DTYPES[self.precision])
        dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        # One by one, because all of them in float64 would take twice the model's memory.
        weights = {
            name: torch.from_numpy(weight).to(dtypes[name])
            for name, weight in deployed_weights(proof.checkpoint, design, sources)
        }
        # Strict: nothing is missing or of another shape.
        model.load_state_dict(weights, assign=True)
        save_tensors(weights, path, {DESIGN: design.model_dump_json(exclude_defaults=True)})
        artefact = following(
            source,
            [path],
            name=f"torch-{self.precision}",
            engine="torch",
            precision=self.precision,
            target="any",
            outputs=[spec for spec in source.outputs if spec.name not in _LEFT_OUT],
        )
        return alone(bundle, artefact, folder)


def _design(checkpoint: Checkpoint, level: int, sources: Sources) -> Design:
    config = checkpoint.model.config
    is_deepest = level == config.encoder_depth
    return Design(
        mean_db=config.stat["melspec_2048_mean"],
        std_db=config.stat["melspec_2048_std"],
        channels=config.conv_dim,
        frames_per_step=config.frames_per_step,
        width=config.encoder_dim,
        level=level,
        heads=config.conformer.num_attention_heads,
        inner=config.conformer.intermediate_size,
        kernel=config.conformer.conv_depthwise_kernel_size,
        norm_eps=config.conformer.layer_norm_eps if is_deepest else None,
        head=_head_design(sources.head.head) if isinstance(sources.head, TagHead) else None,
        tokens=_token_design(sources.rvq) if sources.rvq is not None else None,
        mix=_mix_design(sources.mix) if sources.mix is not None else None,
    )


def _head_design(head: Head) -> HeadDesign:
    config = head.config
    return HeadDesign(
        levels=config.levels,
        hidden=config.hidden,
        tags=len(config.labels),
        smallest_variance=SMALLEST_VARIANCE,
        groups=[(each.start, each.stop) for each in config.places if each.stop - each.start > 1],
    )


def _mix_design(mix: LevelMix) -> MixDesign:
    return MixDesign(levels=mix.record.levels, weights=mix.record.weights)


def _token_design(rvq: TokenRvq) -> TokenDesign:
    first = rvq.rvq.stages[0].codebook
    return TokenDesign(
        level=rvq.record.level,
        frames_per_step=rvq.frames_per_step,
        stages=rvq.record.stages,
        codes=first.num_embeddings,
        code_width=first.embedding_dim,
    )
