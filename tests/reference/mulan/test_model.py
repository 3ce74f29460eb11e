"""What the towers do with lengths and padding; agreement with upstream is test_golden.py's."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from muqrt.errors import AudioError, CheckpointError, UsageError
from muqrt.reference.mulan.model import MuLan, clips_of
from muqrt.reference.mulan.random_model import SIZES, random_mulan
from muqrt.reference.mulan.transformer import Attention

SHORT_CLIP = 24_000  # samples


@pytest.fixture(scope="module")
def of_one_second() -> MuLan:
    """Clips of a second, to save time."""
    config, muq, text = SIZES["tiny"]
    joint = dataclasses.replace(config.mulan, clip_secs=1)
    shallow = dataclasses.replace(muq, encoder_depth=1)
    torch.manual_seed(0)
    return MuLan(dataclasses.replace(config, mulan=joint), shallow, text).eval()


def naive_clips(track: list[float], clip: int, padded: bool) -> list[list[float]]:
    pieces = [track[first : first + clip] for first in range(0, len(track), clip)]
    if padded:
        pieces[-1] = pieces[-1] + [0.0] * (clip - len(pieces[-1]))
    else:
        pieces[-1] = (pieces[-1] + track)[:clip]
    return pieces


@given(samples=st.integers(1, 40), clip=st.integers(1, 12), padded=st.booleans())
@settings(max_examples=60, deadline=None)
def test_clips(samples: int, clip: int, padded: bool) -> None:
    tracks = torch.arange(1.0, 2 * samples + 1).reshape(2, samples)
    cut = clips_of(tracks, clip, "padded" if padded else "wrapped")
    assert cut.tolist() == [naive_clips(track, clip, padded) for track in tracks.tolist()]


def test_a_track_is_the_mean_of_its_clips(of_one_second: MuLan, recording: Tensor) -> None:
    tracks = torch.stack([recording[:50_000], recording[-50_000:]])
    with torch.no_grad():
        latents = of_one_second.audio_latents(clips_of(tracks, SHORT_CLIP).flatten(0, 1))
    torch.testing.assert_close(latents.norm(dim=1), torch.ones(6))
    expected = latents.reshape(2, 3, -1).mean(1)
    for clips_at_once in (1, 4, 100):
        found = of_one_second.embed_audio(tracks, clips_at_once=clips_at_once)
        torch.testing.assert_close(found, expected)
    padded = of_one_second.embed_audio(tracks, last_clip="padded")
    assert (padded - expected).abs().max() > 1e-4


def test_never_more_clips_at_once_than_asked_for(
    of_one_second: MuLan, recording: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, original = [], of_one_second.audio_latents

    def counted(clips: Tensor) -> Tensor:
        sizes.append(len(clips))
        return original(clips)

    monkeypatch.setattr(of_one_second, "audio_latents", counted)
    of_one_second.embed_audio(recording.repeat(3)[None], clips_at_once=3)
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(("samples", "fits"), [(0, False), (512, False), (513, True)])
def test_the_shortest_track(samples: int, fits: bool, tiny_mulan: MuLan) -> None:
    track = torch.full((1, samples), 0.1)
    if fits:
        assert tiny_mulan.embed_audio(track).isfinite().all()
    else:
        with pytest.raises(AudioError, match=f"{samples} samples: too short"):
            tiny_mulan.embed_audio(track)


@torch.no_grad()
def test_a_text_is_the_same_in_every_batch(tiny_mulan: MuLan) -> None:
    texts = [[0, 7, 2], [0, 300, 8, 9, 11, 2], [0, 2]]
    ids = torch.ones(3, 9, dtype=torch.long)
    mask = torch.zeros(3, 9, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    together = tiny_mulan.text_latents(ids, mask)
    for row, text in enumerate(texts):
        alone = tiny_mulan.text_latents(torch.tensor([text]))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-6)
    official = tiny_mulan.text_latents(ids, mask, padding_counts=True)
    assert (official - together).abs().max() > 1e-3


def test_a_text_longer_than_the_positions(tiny_mulan: MuLan) -> None:
    tiny_mulan.text_latents(torch.full((1, 512), 5))
    with pytest.raises(UsageError, match="513 tokens: 512 at most"):
        tiny_mulan.text_latents(torch.full((1, 513), 5))


def naive_attention(attention: Attention, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One batch row, head by head and step by step."""
    weights = {name: tensor.numpy() for name, tensor in attention.state_dict().items()}
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = x * weights["norm.learned_gamma"]
    query = x @ weights["to_q.weight"].T
    key, value = np.split(x @ weights["to_kv.weight"].T, 2, axis=-1)
    width = query.shape[-1] // attention.heads
    mixed = np.zeros_like(query)
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        for step in range(len(x)):
            q = query[step, part] / np.linalg.norm(query[step, part]) * weights["q_scale"]
            scores = np.full(len(x), -np.inf)
            for other in np.flatnonzero(mask):
                k = key[other, part] / np.linalg.norm(key[other, part]) * weights["k_scale"]
                scores[other] = 8 * (q @ k)
            share = np.exp(scores - scores.max())
            mixed[step, part] = share / share.sum() @ value[:, part]
    return mixed @ weights["to_out.0.weight"].T


@torch.no_grad()
def test_attention(tiny_mulan: MuLan) -> None:
    attention = tiny_mulan.mulan.text.transformer.get_submodule("layers.1.0")
    assert isinstance(attention, Attention)
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]]).bool()
    found = attention(x, mask).numpy()
    for row in range(2):
        expected = naive_attention(attention, x[row].numpy(), mask[row].numpy())
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("audio_model", "model_dim", 33, "is 32 wide, model_dim says 33"),
        ("text_model", "model_dim", None, "is 16 wide, model_dim says 24"),
        ("audio_model", "use_layer_idx", 13, "use_layer_idx is 13, .* has 13 levels"),
        ("audio_model", "use_layer_idx", -14, "use_layer_idx is -14"),
    ],
)
def test_configurations_that_do_not_fit(
    section: str, field: str, value: object, message: str
) -> None:
    config, muq, text = SIZES["tiny"]
    changed = dataclasses.replace(getattr(config, section), **{field: value})
    with pytest.raises(CheckpointError, match=message):
        MuLan(dataclasses.replace(config, **{section: changed}), muq, text)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_can_be_built(size: str) -> None:
    with torch.device("meta"):
        MuLan(*SIZES[size])


def test_the_seed_decides(tiny_mulan: MuLan) -> None:
    again, other = random_mulan("tiny"), random_mulan("tiny", seed=1)
    for name, tensor in tiny_mulan.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(other.mulan.audio.proj.weight, tiny_mulan.mulan.audio.proj.weight)
    assert not any(module.training for module in tiny_mulan.modules())
