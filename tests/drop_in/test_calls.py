"""The ways in which public projects call MuQ and MuQ-MuLan, written anew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from muqrt.drop_in import MuQ, MuQConfig, MuQMuLan
from muqrt.errors import UsageError

from .conftest import cases


def alike(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.fixture(scope="session")
def song(recording: Tensor) -> Tensor:
    """(1, samples), seven seconds."""
    return recording.repeat(4)[None, : 7 * 24_000]


@torch.no_grad()
def test_a_whole_song_at_one_level(model: MuQ, song: Tensor) -> None:
    """As a scorer of songs does: a list of one waveform, the level, its float32 on the CPU."""
    found = model.to("cpu").eval()(song, output_hidden_states=True)["hidden_states"][2]
    assert found.float().cpu().shape == (1, 7 * 25, model.config.encoder_dim)


@torch.no_grad()
def test_a_long_window_and_short_ones_joined(model: MuQ, song: Tensor) -> None:
    """As a finder of structure does: the song in one window, and in short ones side by side."""
    whole = model(song).hidden_states[2]
    pieces = song[0].split(2 * 24_000)
    local = torch.cat([model(piece[None]).hidden_states[2] for piece in pieces], dim=1)
    assert whole.shape == local.shape
    both = torch.cat([whole, local], dim=-1)
    assert both.shape[-1] == 2 * model.config.encoder_dim
    alike(model(song).hidden_states[0][:, 5:40], model(song[:, : 2 * 24_000])[1][0][:, 5:40])


@torch.no_grad()
def test_the_last_levels_stacked_and_the_mean_of_all(model: MuQ, song: Tensor) -> None:
    found = model(song, output_hidden_states=True)
    stacked = torch.stack(found.hidden_states[1:4], dim=1)
    assert stacked.shape[:2] == (1, 3)
    mean = torch.stack(found["hidden_states"]).mean(0)
    alike(mean, sum(found.hidden_states) / len(found.hidden_states))
    alike(torch.stack([each.mean(1) for each in found.hidden_states]).mean(0), mean.mean(1))


@torch.no_grad()
def test_an_embedding(model: MuQ, song: Tensor) -> None:
    embedding = model(song).last_hidden_state.mean(1)
    assert embedding.shape == (1, model.config.encoder_dim)
    alike(embedding, model(song, output_hidden_states=False)[0].mean(dim=1))


@torch.no_grad()
def test_batches_padded_with_zeros(model: MuQ, recording: Tensor) -> None:
    lengths = [24_000, 40_001]
    x = nn.utils.rnn.pad_sequence([recording[:length] for length in lengths], batch_first=True)
    mask = (torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]).long()
    found = model(x, attention_mask=mask).last_hidden_state
    assert found.shape[0] == 2
    per_step = mask[:, :: x.shape[1] // found.shape[1]][:, : found.shape[1]]
    alike(found, model(x, attention_mask=per_step).last_hidden_state)
    pooled = (found * per_step[..., None]).sum(1) / per_step.sum(1, keepdim=True)
    assert pooled.isfinite().all()


@torch.no_grad()
def test_rows_alone_are_another_function(model: MuQ, recording: Tensor) -> None:
    lengths = [24_000, 40_001]
    x = nn.utils.rnn.pad_sequence([recording[:length] for length in lengths], batch_first=True)
    mask = (torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]).long()
    alone = model(x, mask, rows="alone")
    for row, length in enumerate(lengths):
        for level in (0, 2, 3):
            own = model(recording[None, :length]).hidden_states[level][0]
            state = alone.hidden_states[level][row]
            assert torch.equal(state[: len(own)], own) and not state[len(own) :].any()
    masked = model(x, mask).last_hidden_state[0, :20]
    assert (masked - alone[0][0, :20]).norm() / masked.norm() > 1e-3
    with pytest.raises(UsageError, match="padding at the end"):
        model(x, mask.flip(1), rows="alone")


def test_results_in_half_precision(model: MuQ, song: Tensor) -> None:
    found = model(song).last_hidden_state
    assert found.half().dtype == torch.float16 and not found.requires_grad
    assert model(song.half()).last_hidden_state.dtype == torch.float32  # the model's
    alike(model(song.double()).last_hidden_state, found)


def test_moving_to_the_cpu_and_back(model: MuQ, song: Tensor) -> None:
    before = model(song).last_hidden_state
    again = model.to("cpu").to(torch.device("cpu"), torch.float32).float().cpu()
    assert again is model and model.requires_grad_(False) is model and model.eval() is model
    assert torch.equal(model(song).last_hidden_state, before)
    assert model.device == next(model.parameters()).device == torch.device("cpu")
    assert model.dtype == next(model.parameters()).dtype == torch.float32
    assert (model.sr, model.training) == (24_000, False)


class Scorer(nn.Module):
    """A head above a MuQ, as projects have it."""

    def __init__(self, muq: MuQ) -> None:
        super().__init__()
        self.muq = muq
        self.head = nn.Linear(muq.config.encoder_dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.muq(x).hidden_states[2].mean(1))


def test_inside_another_module(model: MuQ, song: Tensor) -> None:
    scorer = Scorer(model).to("cpu").eval()
    scorer(song).sum().backward()
    assert scorer.head.weight.grad is not None
    assert {id(each) for each in scorer.parameters()} > {id(each) for each in model.parameters()}
    state = scorer.state_dict()
    assert {name.partition(".")[0] for name in state} == {"muq", "head"}
    other = Scorer(MuQ(MuQConfig(**vars(model.config))))
    other.load_state_dict(state)
    assert torch.equal(other(song), scorer(song))


def test_a_head_is_trained(model: MuQ, song: Tensor) -> None:
    """The usual loop, in eval and train by turns, over a MuQ that stays as it is."""
    scorer = Scorer(model)
    trained = torch.optim.SGD(scorer.head.parameters(), 0.1)
    before, states = scorer.head.weight.detach().clone(), model(song).last_hidden_state
    for mode in (True, False):
        assert scorer.train(mode) is scorer
        nn.Sequential(scorer).train(mode)
        assert (scorer.training, scorer.head.training, model.training) == (mode, mode, False)
        scorer(song).sum().backward()
        trained.step()
    assert not torch.equal(scorer.head.weight, before)
    assert torch.equal(model(song).last_hidden_state, states)
    with pytest.raises(UsageError, match="muqrt train"):
        scorer.muq.train()


def test_a_heads_own_weights_are_loaded(
    model: MuQ, song: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path))
    scorer = Scorer(model)
    expected = scorer(song)
    found = scorer.load_state_dict(
        {f"head.{name}": each + 1 for name, each in scorer.head.state_dict().items()}, strict=False
    )
    assert found.missing_keys == ["muq.*"] and found.unexpected_keys == []
    assert not torch.equal(scorer(song), expected)
    with pytest.raises(RuntimeError, match=r"Missing key.* \"muq\.\*\""):
        scorer.load_state_dict({f"head.{n}": x for n, x in scorer.head.state_dict().items()})
    for wrong in ({"epoch": 3}, {"weight": song[:1].expand(4, -1)}):
        with pytest.raises(RuntimeError, match="the weights of MuQ"):
            model.load_state_dict(wrong)
    assert not list(tmp_path.iterdir())


def test_a_bare_string_is_one_text(joint: MuQMuLan) -> None:
    """As a generator of songs does."""
    text = "classical genres, hopeful mood, piano."
    assert joint(texts=text).shape == (1, joint.config.mulan.dim_latent)
    assert torch.equal(joint(texts=text), joint(texts=[text]))
    assert torch.equal(joint.extract_text_latents([text]), joint(texts=(text,)))


def test_similarities(joint: MuQMuLan, song: Tensor) -> None:
    music, words = joint(wavs=song), joint(texts=["piano", "a violin", "loud drums"])
    products = music @ words.T
    assert torch.equal(joint.calc_similarity(music, words), products)
    assert torch.equal(joint.calc_similarity(music[0], words), products[0])
    assert torch.equal(joint.calc_similarity(music, words[1]), products[:, 1])
    alike(joint.calc_similarity(music[0], words[2]), products[0, 2])
    with pytest.raises(UsageError, match="1 or 2 are needed"):
        joint.calc_similarity(music[None], words)


def test_waveforms_of_different_lengths(joint: MuQMuLan, song: Tensor) -> None:
    pair = [song[0], song[0, :50_000]]
    found = joint(wavs=pair)
    for row, wav in enumerate(pair):
        alike(found[row : row + 1], joint.extract_audio_latents(wav[None]))


def test_clips_and_the_module_below(joint: MuQMuLan, recording: Tensor) -> None:
    clip = joint.sr * joint.clip_secs
    assert (joint.sr, joint.clip_secs, joint.device.type) == (24_000, 10, "cpu")
    long = torch.from_numpy(np.resize(recording.numpy(), clip + 1_000))
    clips = joint._get_all_clips(long)
    assert clips.shape == (2, clip)
    assert torch.equal(clips[1], torch.cat([long[clip:], long[: clip - 1_000]]))
    latents = joint.mulan_module.get_audio_latents(clips)
    alike(latents.norm(dim=-1), torch.ones(2))
    alike(joint(wavs=long[None]), latents.mean(0, keepdim=True))
    words = cases("mulan_cases.json")["texts"]["of different lengths"]
    assert torch.equal(joint.mulan.get_text_latents(raw_texts=words), joint(texts=words))
