"""A head that was trained elsewhere computes what its own module does, and another is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from muqrt.errors import CheckpointError, UsageError
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.graph.head import scores
from muqrt.export.graph.writer import Graph
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import TagHead
from muqrt.export.sources.score_head import ScoreHead, load_head
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.runtime.bundle.record import TensorSpec

WIDTH = 32


class Song(nn.Module):
    """SongEval's head, written anew from its shape; its dropout is off."""

    def __init__(self, width: int = WIDTH, layers: int = 2, outputs: int = 5) -> None:
        super().__init__()
        self.attn = nn.ModuleList(
            nn.MultiheadAttention(width, 8, batch_first=True) for _ in range(layers)
        )
        self.ffd = nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, width))
        self.fc = nn.Linear(2 * width, outputs)

    def forward(self, states: list[Tensor]) -> Tensor:
        x = y = self.ffd(states[6])
        for layer in self.attn:
            y = layer(y, y, y)[0]
        return 2 * torch.tanh(self.fc(torch.cat([y.mean(1), x.max(1).values], 1))) + 3


class Marble(nn.Module):
    """MARBLE's first probe: ``aggregator`` over all levels, ``hidden_0``, ``output``."""

    def __init__(self, levels: int, aggregator: str | None, hidden: int) -> None:
        super().__init__()
        if aggregator == "softmax":
            self.aggregator = nn.Parameter(torch.randn(1, levels, 1))
        elif aggregator == "plain":
            self.aggregator = nn.Conv1d(levels, 1, 1)
        if hidden:
            self.hidden_0 = nn.Linear(WIDTH, hidden)
        self.output = nn.Linear(hidden or WIDTH, 4)

    def forward(self, states: list[Tensor]) -> Tensor:
        x = torch.stack([state.mean(1) for state in states], 1)
        if isinstance(getattr(self, "aggregator", None), nn.Conv1d):
            x = self.aggregator(x).squeeze(1)
        elif hasattr(self, "aggregator"):
            x = (x * self.aggregator.softmax(1)).sum(1)
        else:
            x = x.mean(1)
        return self.output(self.hidden_0(x).relu() if hasattr(self, "hidden_0") else x)


class Decoder(nn.Module):
    """MARBLE's second probe: a ``net`` of linear layers, activations and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(WIDTH, 24), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.Linear(24, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)),
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        return self.net(torch.stack(states, 1).mean((1, 2)))


def sharp(module: nn.Module) -> nn.Module:
    """In eval mode, its weights larger than at their start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 2
    return module.eval()


def saved(folder: Path, module: nn.Module, **facts: Any) -> Path:
    """The file to load: the weights alone, or a description beside them."""
    weights = folder / "head.safetensors"
    save_file(module.state_dict(), weights)
    if not facts:
        return weights
    (folder / "head.json").write_text(json.dumps({"weights": weights.name, **facts}))
    return folder / "head.json"


def hidden_states(batch: int, steps: int, count: int = 13) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.normal(0.3, 1, (batch, steps, WIDTH)).astype(np.float32) for _ in range(count)]


def in_graph(head: ScoreHead, states: list[np.ndarray]) -> np.ndarray:
    graph = Graph()
    graph.cuts_long_inputs = True
    names = [f"state_{level}" for level in range(len(states))]
    graph.rename(scores(graph, head.head, head.record.activation, names), "scores")
    specs = [TensorSpec(name=n, dtype="float32", shape=["batch", "steps", WIDTH]) for n in names]
    model = graph.model(specs, [head.record.spec])
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], dict(zip(names, states, strict=True)))
    return found


CASES: list[tuple[Callable[[], nn.Module], dict[str, Any], Callable[[Tensor], Tensor]]] = [
    (Song, {}, Tensor.float),
    (lambda: Marble(1, None, 0), {"levels": [6]}, Tensor.float),
    (lambda: Marble(1, None, 7), {"levels": [6], "activation": "sigmoid"}, Tensor.sigmoid),
    (lambda: Marble(4, "softmax", 7), {"levels": [9, 10, 11, 12]}, Tensor.float),
    (lambda: Marble(3, "plain", 5), {"levels": [12, 0, 6]}, Tensor.float),
    (
        Decoder,
        {"levels": [9, 10], "activation": "softmax", "labels": ["low", "mid", "high"]},
        lambda x: x.softmax(-1),
    ),
]


@pytest.mark.parametrize(("build", "facts", "activation"), CASES)
def test_scores_are_the_modules_own(
    tmp_path: Path,
    build: Callable[[], nn.Module],
    facts: dict[str, Any],
    activation: Callable[[Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    module, states = sharp(build()), hidden_states(2, 50)
    head = load_head(saved(tmp_path, module, **facts))
    assert isinstance(head, ScoreHead)
    given = [torch.from_numpy(state) for state in states]
    with torch.inference_mode():
        chosen = given if isinstance(module, Song) else [given[level] for level in facts["levels"]]
        expected = activation(module(chosen)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(head.expected(states), expected, atol=1e-5)
    np.testing.assert_allclose(in_graph(head, states), expected, atol=2e-5)


def test_a_long_song_is_attended_to_in_blocks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = load_head(saved(tmp_path, sharp(Song())))
    states = hidden_states(1, 1_601, 7)
    np.testing.assert_allclose(in_graph(head, states), head.expected(states), atol=2e-5)


def test_what_is_known_of_songevals_head(tmp_path: Path) -> None:
    module = Song()
    record = load_head(saved(tmp_path, module)).record
    assert record.labels == ["coherence", "musicality", "memorability", "clarity", "naturalness"]
    assert (record.levels, record.window_seconds) == ([6], "whole")
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, tmp_path / "lightning.ckpt")
    for name in ("pytorch_model.bin", "lightning.ckpt"):
        assert load_head(tmp_path / name).record == record
    with torch.no_grad():
        module.fc.bias[0] += 1e-6
    assert load_head(saved(tmp_path, module)).record.head_sha256 != record.head_sha256


def test_a_description_in_toml(tmp_path: Path) -> None:
    saved(tmp_path, Marble(2, "softmax", 7))
    (tmp_path / "head.toml").write_text(
        'weights = "head.safetensors"\nlevels = [3, 4]\nlabels = ["a", "b", "c", "d"]\n'
        'layers = ["hidden_0", "output"]\nlevel_weights = "aggregator"\nwindow_seconds = 5.0\n'
    )
    record = load_head(tmp_path / "head.toml").record
    assert (record.labels, record.window_seconds) == (["a", "b", "c", "d"], 5.0)
    (tmp_path / "head.toml").write_text("weights =")
    with pytest.raises(UsageError, match="not TOML"):
        load_head(tmp_path / "head.toml")


def test_a_taggers_folder_is_still_a_head(tiny_head: Path) -> None:
    assert isinstance(load_head(tiny_head), TagHead)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"levels": [6], "labels": ["a", "b"]}, "2 labels for a head of 4 outputs"),
        ({"levels": [6], "labels": ["a", "b", "c", "a"]}, "the label 'a' is there twice"),
        ({"levels": []}, r"head\.json: levels: .*at least 1"),
        ({"levels": [-1]}, r"levels\.0: .*greater than or equal to 0"),
        ({"levels": [6], "activation": "relu"}, "activation: .*'none', 'sigmoid' or 'softmax'"),
        ({"levels": [6], "window_seconds": 9999}, "window_seconds"),
        ({"levels": [6], "weights": "../head.safetensors"}, "points outside"),
        ({"levels": [6], "weights": "other.safetensors"}, r"other\.safetensors: not a readable"),
        ({"levels": [6], "layer": 3}, "layer: Extra inputs"),
        ({"levels": [6], "layers": ["output", "hidden_0"]}, "do not follow one another"),
        ({"levels": [6], "layers": ["output"]}, r"unexpected: hidden_0\.bias"),
        ({"levels": [6], "layers": ["nothing"]}, r"no matrix nothing\.weight"),
        ({"levels": [6, 7], "mixture": "softmax"}, "missing: level_weights"),
        ({"levels": [6], "level_weights": "mixer"}, "no mixer among its weights"),
        ({"levels": [6], "kind": "songeval"}, r"no matrix ffd\.0\.weight"),
        ({"kind": "probe"}, "which levels this head reads is not in its weights"),
    ],
)
def test_a_description_that_does_not_fit(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, Marble(1, None, 7), **facts)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_head(path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_none(tmp_path: Path) -> None:
    def refused(message: str, path: Path) -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            load_head(path)
        assert "\n" not in str(caught.value)

    refused("neither a file nor a folder", tmp_path / "nowhere.pt")
    (tmp_path / "head.txt").write_text("a")
    refused("a head is a file", tmp_path / "head.txt")
    (tmp_path / "head.json").write_text("[1")
    refused("not JSON", tmp_path / "head.json")
    refused("which levels", saved(tmp_path, Marble(1, None, 0)))
    torch.save(Marble(1, None, 0), tmp_path / "whole.pt")  # a module, whose class would be run
    refused("weights_only", tmp_path / "whole.pt")
    broken = Song()
    with torch.no_grad():
        broken.fc.bias[0] = float("nan")
    refused("NaN or infinite weights", saved(tmp_path, broken))
    refused("attention heads do not divide", saved(tmp_path, Song(40), attention_heads=7))
    refused("reads one level", saved(tmp_path, Song(), levels=[5, 6]))


@pytest.mark.parametrize(
    ("width", "levels", "level", "message"),
    [
        (24, [6], None, "width 24; .* are 32 wide"),
        (32, [13], None, "reads level 13; .* levels 0 to 12"),
        (32, [8], 7, "reads level 8, beyond the exported level 7"),
    ],
)
def test_another_models_head_is_refused(
    tiny_checkpoint: Path,
    tmp_path: Path,
    width: int,
    levels: list[int],
    level: int | None,
    message: str,
) -> None:
    checkpoint: Checkpoint = load_checkpoint(tiny_checkpoint)
    head = load_head(saved(tmp_path, Song(width), levels=levels))
    with pytest.raises(CheckpointError, match=message):
        bundle_from_checkpoint(Proof(checkpoint, head=head), tmp_path / "bundle", level=level)
    assert not (tmp_path / "bundle").exists()
