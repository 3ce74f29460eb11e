"""An answer behaves as the official package's, and computes what is asked for alone."""

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from muqrt.drop_in import MuQ
from muqrt.runtime.engines.session import Levels


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The runs of layers, by their first and last levels, empty ones left out."""
    made: list[tuple[int, int]] = []
    run = Levels.run

    def spy(levels: Levels, x: object, first: int, last: int, bias: object = None) -> object:
        if first < last:
            made.append((first, last))
        return run(levels, x, first, last, bias)

    monkeypatch.setattr(Levels, "run", spy)
    yield made


@pytest.fixture
def waveform(recording: Tensor) -> Tensor:
    return recording[None, :24_001]


def test_attributes_keys_and_positions_are_one(model: MuQ, waveform: Tensor) -> None:
    found = model(waveform, output_hidden_states=True)
    deepest = model.config.encoder_depth
    assert list(found) == ["last_hidden_state", "hidden_states"]
    assert len(found) == 2 and "hidden_states" in found and "attentions" not in found
    assert found.attentions is None and found.get("attentions", 1) == 1
    assert found["last_hidden_state"] is found[0] is found.last_hidden_state
    assert found["hidden_states"] is found[1] is found.hidden_states
    assert found[1][deepest] is found[0] is found.to_tuple()[0] is found.get("last_hidden_state")
    assert [type(each) for each in (found[:1], found[:2], found.to_tuple())] == [tuple] * 3
    assert isinstance(found, dict) and isinstance(found.hidden_states, tuple)
    first, second = found  # a dict's names, as there
    assert (first, second) == ("last_hidden_state", "hidden_states")
    assert {**found}["last_hidden_state"] is found[0]
    assert [name for name, _ in found.items()] == list(found.keys())
    with pytest.raises(KeyError, match="nothing"):
        found["nothing"]
    with pytest.raises(IndexError):
        found[2]
    for change in (lambda: found.update(a=1), lambda: found.pop("hidden_states")):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()


def test_only_the_last_state(model: MuQ, waveform: Tensor) -> None:
    found = model(waveform, output_hidden_states=False)
    assert list(found) == ["last_hidden_state"]
    assert found.hidden_states is None and len(found.to_tuple()) == 1
    assert found[0].shape == (1, 25, model.config.encoder_dim)


def test_a_level_runs_the_layers_below_it(
    model: MuQ, waveform: Tensor, runs: list[tuple[int, int]]
) -> None:
    found = model(waveform)
    assert not runs
    third = found.hidden_states[2]
    assert runs == [(0, 2)]
    assert found.hidden_states[2] is third and found.hidden_states[-11] is third
    assert runs == [(0, 2)]
    _ = found.last_hidden_state
    assert runs == [(0, 2), (2, 12)]
    _ = found.hidden_states[1]  # shallower than what is held: from the front end's output
    assert runs == [(0, 2), (2, 12), (0, 1)]


def test_a_slice_runs_every_layer_once(
    model: MuQ, waveform: Tensor, runs: list[tuple[int, int]]
) -> None:
    chosen = model(waveform).hidden_states[9:13]
    assert runs == [(0, 9), (9, 10), (10, 11), (11, 12)]
    assert type(chosen) is tuple and len(chosen) == 4


def test_functions_of_pytorch_take_the_tuple(model: MuQ, waveform: Tensor) -> None:
    states = model(waveform).hidden_states
    plain = [states[level] for level in range(len(states))]
    together = torch.stack(states)
    assert torch.equal(together, torch.stack(plain))
    assert torch.equal(torch.stack(states, dim=1), torch.stack(plain, 1))
    assert torch.equal(torch.cat(states, -1), torch.cat(plain, -1))
    assert torch.equal(torch.cat(tensors=states, dim=-1), torch.cat(plain, -1))
    front, *middle, last = states
    assert front is plain[0] and last is plain[-1] and len(middle) == len(plain) - 2
    for listed in (list(states), [*states], list(states + tuple(plain[:0]))):
        assert all(one is other for one, other in zip(listed, plain, strict=True))
    assert next(reversed(states)) is plain[-1]
    with pytest.raises(IndexError):
        states[len(plain)]


def test_what_callers_do_to_a_state_changes_no_other(model: MuQ, waveform: Tensor) -> None:
    expected = model(waveform).last_hidden_state
    found = model(waveform)
    found.hidden_states[0].zero_()
    found.hidden_states[2].zero_()
    assert torch.equal(found.last_hidden_state, expected)


def test_an_answer_can_be_pickled_and_copied(model: MuQ, waveform: Tensor) -> None:
    found = model(waveform)
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert torch.equal(again["last_hidden_state"], found.last_hidden_state)
        assert torch.equal(again["hidden_states"][1], found.hidden_states[1])
    states = pickle.loads(pickle.dumps(found.hidden_states))
    assert type(states) is tuple and torch.equal(states[3], found.hidden_states[3])
