"""An artefact for PyTorch: with weights of its own, proven or not there at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from muqrt.errors import CheckpointError, SessionError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.engines.pytorch import TorchRecipe
from muqrt.export.parity.excerpt import Excerpt, excerpts
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from muqrt.reference.random_model import SMALL, TINY, random_model
from muqrt.runtime.bundle import certificate
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.open_session import open_session

HAS_BF16 = torch.cpu._is_avx512_bf16_supported()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def saved(tmp_path: Path, **changes: object) -> Checkpoint:
    """A tiny checkpoint with another configuration."""
    save_checkpoint(random_model(TINY.__class__(**{**vars(TINY), **changes})), tmp_path / "other")
    return load_checkpoint(tmp_path / "other")


def test_fp32_with_tags_is_certified_beside_the_onnx_artefact(
    checkpoint: Checkpoint, tagged_copy: Path, tiny_head: Path, very_short_music: list[Excerpt]
) -> None:
    head = load_tag_head(tiny_head)
    add(
        load_bundle(tagged_copy),
        TorchRecipe("fp32"),
        Proof(checkpoint, head, music=very_short_music),
    )
    bundle = load_bundle(tagged_copy)
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32", "torch-fp32"]
    assert all(each.certified for each in bundle.artefacts)
    assert bundle.artefact().name == "onnx-fp32"
    first, added = bundle.artefacts
    assert (added.engine, added.precision, added.target) == ("torch", "fp32", "any")
    assert added.inputs == first.inputs and added.outputs == first.outputs
    assert added.certificate is not None
    measured = {each.output for each in added.certificate.measurements}
    assert {"features", "embedding", "tags"} <= measured
    assert any("in parts" in each.audio for each in added.certificate.measurements)


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16 instructions")
def test_a_small_model_in_bf16_passes_its_gate(tmp_path: Path) -> None:
    save_checkpoint(random_model(SMALL), tmp_path / "checkpoint")
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", ["features", "tokens"])
    bundle = load_bundle(tmp_path / "bundle")
    ten_seconds = [each for each in excerpts() if each.seconds == 10]
    assert ten_seconds
    proof = Proof(checkpoint, rvq=own_rvq(checkpoint), music=ten_seconds)
    artefact = add(bundle, TorchRecipe("bf16"), proof)
    assert artefact.name == "torch-bf16" and artefact.certificate is not None
    worst = artefact.certificate.worst
    # It is not fp32 in disguise, and its log-mel and tokens are.
    assert worst.relative_l2 > 1e-3
    assert worst.equal_tokens > certificate.THRESHOLDS["fp32"].equal_tokens


@pytest.mark.parametrize("level", [0, 5])
def test_a_shallower_level_and_all_hidden_states(
    checkpoint: Checkpoint, tmp_path: Path, level: int, very_short_music: list[Excerpt]
) -> None:
    outputs = ["features", "hidden_states"]
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", outputs, level)
    proof = Proof(checkpoint, music=very_short_music)
    added = add(load_bundle(tmp_path / "bundle"), TorchRecipe("fp32"), proof)
    assert added.certified and added.level == level


def test_other_architectures(tmp_path: Path, very_short_music: list[Excerpt]) -> None:
    encoder = {**TINY.w2v2_config, "conv_depthwise_kernel_size": 7, "layer_norm_eps": 1e-2}
    encoder |= {"rotary_embedding_base": 100, "num_attention_heads": 4}
    checkpoint = saved(tmp_path, label_rate=50, encoder_depth=2, w2v2_config=encoder)
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", ["features", "tokens"])
    bundle, rvq = load_bundle(tmp_path / "bundle"), own_rvq(checkpoint)
    proof = Proof(checkpoint, rvq=rvq, music=very_short_music)
    assert add(bundle, TorchRecipe("fp32"), proof).certified


def test_the_weights_have_the_precision_and_the_norms_do_not(
    checkpoint: Checkpoint, bundle_copy: Path
) -> None:
    bundle = load_bundle(bundle_copy)
    sizes = {}
    for precision, dtype in (("fp32", "F32"), ("bf16", "BF16"), ("fp16", "F16")):
        artefact = add(bundle, TorchRecipe(precision), Proof(checkpoint))
        sizes[precision] = bundle.size_bytes(artefact)
        with safe_open(bundle.path(artefact.file), "pt") as file:
            of = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        kept = {name for name, found in of.items() if "norm" in name or "frequencies" in name}
        assert {of[name] for name in kept} == {"F32"}
        assert {of[name] for name in set(of) - kept} == {dtype}
    assert sizes["fp32"] > 1.7 * max(sizes["bf16"], sizes["fp16"])


def test_fp16_cannot_be_proven_without_a_gpu(
    checkpoint: Checkpoint, bundle_copy: Path, very_short_music: list[Excerpt]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = files(bundle_copy)
    with pytest.raises(SessionError, match="torch-fp16: fp16 is not for this device, cpu"):
        proof = Proof(checkpoint, music=very_short_music)
        add(load_bundle(bundle_copy), TorchRecipe("fp16"), proof)
    assert files(bundle_copy) == before


def test_what_it_cannot_be_is_refused(
    checkpoint: Checkpoint, tagged_copy: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(tagged_copy)
    with pytest.raises(CheckpointError, match="name the head's folder"):
        add(bundle, TorchRecipe("fp32"), Proof(checkpoint))
    other = saved(tmp_path, rvq_multi_layer_num=2)
    with pytest.raises(CheckpointError, match="not the checkpoint of"):
        add(bundle, TorchRecipe("fp32"), Proof(other))
    bundle_from_checkpoint(Proof(other), tmp_path / "bundle", ["features", "tokens"])
    with pytest.raises(CheckpointError, match="projections of several layers"):
        proof = Proof(other, rvq=own_rvq(other))
        add(load_bundle(tmp_path / "bundle"), TorchRecipe("fp32"), proof)


def test_tokens_of_a_hidden_state(
    checkpoint: Checkpoint, tmp_path: Path, very_short_music: list[Excerpt]
) -> None:
    from muqrt.export.sources.rvq import load_token_rvq
    from muqrt.reference.rvq import ResidualVectorQuantize
    from muqrt.reference.rvq_file import RvqConfig, save_rvq

    config = RvqConfig(
        width=32, mean=0.5, std=2.0, stages=3, codes=64, level=4, model_sha256=checkpoint.sha256
    )
    save_rvq(ResidualVectorQuantize(32, 3, 64, 16, 1), config, tmp_path / "rvq")
    rvq = load_token_rvq(tmp_path / "rvq", checkpoint)
    bundle_from_checkpoint(Proof(checkpoint, rvq=rvq), tmp_path / "bundle", ["features"])
    bundle = load_bundle(tmp_path / "bundle")
    proof = Proof(checkpoint, rvq=rvq, music=very_short_music)
    added = add(bundle, TorchRecipe("fp32"), proof)
    assert added.certified
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 9_999)).astype(np.float32)
    with open_session(bundle, added, threads=1) as session:
        tokens = session.run({"waveform": waveform}, ["tokens"])["tokens"]
        assert tokens.shape == (1, 3, 11)
        assert session.parts is not None and "tokens" in session.parts.encoder.outputs
