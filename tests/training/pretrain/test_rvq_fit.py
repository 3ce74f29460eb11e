"""Fitting the quantizer: the loss against a naive oracle, stale codes, and real progress."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muqrt.reference.mel import LogMel
from muqrt.reference.rvq import ResidualVectorQuantize
from muqrt.training.loop.devices import Hardware, launched
from muqrt.training.loop.plan import TrainingPlan
from muqrt.training.pretrain.rvq import (
    STALE_STEPS,
    RvqFit,
    StackedMel,
    stacked,
    stage_figures,
    statistics,
)

WIDTH, STAGES, CODES, CODE_WIDTH = 12, 3, 7, 4


def small_rvq(seed: int = 0) -> ResidualVectorQuantize:
    torch.manual_seed(seed)
    return ResidualVectorQuantize(WIDTH, STAGES, CODES, CODE_WIDTH, layers=1)


def naive_loss(rvq: ResidualVectorQuantize, x: Tensor) -> Tensor:
    """Frame by frame and code by code."""
    commitment = codebook = reconstruction = torch.zeros(())
    frames = [x[b, :, t] for b in range(x.shape[0]) for t in range(x.shape[2])]
    for frame in frames:
        residual = frame
        for quantizer in rvq.quantizers:
            latent = quantizer.in_proj(residual[None, :, None])[0, :, 0]
            similar = [
                F.cosine_similarity(latent, code, dim=0) for code in quantizer.codebook.weight
            ]
            code = quantizer.codebook.weight[int(torch.stack(similar).argmax())]
            commitment = commitment + (latent - code.detach()).square().mean() / len(frames)
            codebook = codebook + (code - latent.detach()).square().mean() / len(frames)
            passed = latent + (code - latent).detach()
            left = residual - quantizer.out_proj(passed[None, :, None])[0, :, 0]
            reconstruction = reconstruction + left.abs().mean() / len(frames)
            residual = left.detach()
    return 0.25 * commitment + codebook + reconstruction


def test_loss_and_gradients_are_the_naive_ones() -> None:
    x = torch.randn(2, WIDTH, 5)
    ours, naive = small_rvq(), small_rvq()
    loss, _ = RvqFit(ours, nn.Identity())(x)
    expected = naive_loss(naive, x)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), naive.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_the_fit_quantizes_as_the_model_does() -> None:
    """What the loss reconstructs is what ``ResidualVectorQuantize`` reconstructs."""
    rvq, x = small_rvq(), torch.randn(2, WIDTH, 9)
    _, figures = RvqFit(rvq, nn.Identity())(x)
    reconstruction, _ = rvq(x)
    assert float(figures["reconstruction"]) == pytest.approx(
        float((x - reconstruction).detach().abs().mean()), rel=1e-5
    )


def test_a_stale_code_becomes_a_latent_and_used_ones_stay() -> None:
    fit = RvqFit(small_rvq(), nn.Identity())
    fabric = launched(TrainingPlan(steps=1), Hardware("cpu"))
    first = fit.rvq.quantizers[0]
    x = torch.randn(1, WIDTH, 4)
    before = first.codebook.weight.detach().clone()
    _, tokens = first(x)
    for step in range(STALE_STEPS):
        assert torch.equal(first.codebook.weight, before), step
        fit(x)
        fit.after_step(fabric)
    changed = (first.codebook.weight != before).any(1)
    assert changed.sum() == CODES - len(tokens.unique())
    assert not changed[tokens.unique()].any()
    latents = first.in_proj(x)[0].T
    for code in first.codebook.weight[changed]:
        assert any(torch.equal(code, latent) for latent in latents)


def test_stacking_keeps_time_in_order() -> None:
    log_mel = torch.arange(2 * 3 * 11.0).reshape(2, 3, 11)
    x = stacked(log_mel, 4)
    assert x.shape == (2, 12, 2)
    for step in range(2):
        frames = [log_mel[:, :, 4 * step + offset] for offset in range(4)]
        assert torch.equal(x[:, :, step], torch.cat(frames, dim=1))


def test_statistics_are_those_of_all_values() -> None:
    waveforms = [torch.randn(2, WIDTH, 7) * 3 + 1, torch.randn(1, WIDTH, 4)]
    values = torch.cat([each.flatten() for each in waveforms]).double()
    mean, std = statistics(nn.Identity(), waveforms)
    assert mean == pytest.approx(float(values.mean()))
    assert std == pytest.approx(float(values.std(correction=0)))


def test_figures_of_each_stage() -> None:
    rvq, x = small_rvq(), torch.randn(2, WIDTH, 50)
    rows = stage_figures(rvq, x)
    reconstruction, tokens = rvq(x)
    assert rows[-1]["residual"] == pytest.approx(float((x - reconstruction).abs().mean()))
    assert [row["used"] for row in rows] == [len(tokens[:, s].unique()) for s in range(STAGES)]
    assert all(1 <= row["perplexity"] <= row["used"] + 1e-9 for row in rows)


def test_the_source_stays_as_in_use() -> None:
    source = nn.Sequential(nn.BatchNorm1d(WIDTH))
    fit = RvqFit(small_rvq(), source).train()
    assert not source.training
    assert all(not parameter.requires_grad for parameter in source.parameters())
    assert fit.rvq.training


def test_under_autocast_the_mel_is_still_float32() -> None:
    waveform = torch.randn(1, 24_000) * 0.1
    source = StackedMel(LogMel(240, 128, 0.0, 1.0), 4)
    with torch.autocast("cpu", torch.bfloat16):
        mel = source(waveform)
    assert mel.dtype == torch.float32
    assert torch.equal(mel, source(waveform))


def test_a_fitted_rvq_on_disk_is_the_same(tmp_path: Path) -> None:
    from muqrt.errors import CheckpointError
    from muqrt.reference.rvq_file import RvqConfig, load_rvq, save_rvq

    config = RvqConfig(WIDTH, 0.5, 2.0, STAGES, CODES, CODE_WIDTH, level=3)
    save_rvq(small_rvq(), config, tmp_path / "rvq")
    rvq, again = load_rvq(tmp_path / "rvq")
    assert again == config
    assert torch.equal(rvq(torch.ones(1, WIDTH, 2))[0], small_rvq()(torch.ones(1, WIDTH, 2))[0])
    text = (tmp_path / "rvq" / "rvq.json").read_text()
    (tmp_path / "rvq" / "rvq.json").write_text(text.replace('"codes": 7', '"codes": 8'))
    with pytest.raises(CheckpointError, match=r"the weights are not those .* wrong shape"):
        load_rvq(tmp_path / "rvq")
    (tmp_path / "rvq" / "rvq.json").write_text(text.replace('"mean"', '"average"'))
    with pytest.raises(CheckpointError, match="mean"):
        load_rvq(tmp_path / "rvq")
