"""The live model's ``config.pbtxt`` says what was asked for, and a client reads it back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from muqrt.runtime.bundle.manifest import Framing
from muqrt.runtime.bundle.tagging import Tagging
from muqrt.runtime.streaming.stream import SlidingConfig
from muqrt.triton_repo.contract.config import as_text, parameters_of, parse_config
from muqrt.triton_repo.contract.stream import (
    StreamConfig,
    StreamContract,
    StreamOptions,
    options_of,
)

positive = st.integers(1, 1 << 20)
seconds = st.floats(0.1, 20)
contracts = st.builds(
    StreamContract,
    tagging=st.builds(
        Tagging,
        task=st.just("tagging"),
        # Quotes, backslashes and other alphabets must survive the text.
        vocabulary=st.just(['"guitar"', "\\piano", "日本"]),
        thresholds=st.lists(st.floats(0, 1), min_size=3, max_size=3),
        window_seconds=seconds.map(lambda each: each + 1),
        head_sha256=st.just("0" * 64),
    ),
    sliding=st.builds(
        SlidingConfig,
        framing=st.builds(Framing, **dict.fromkeys(Framing.model_fields, positive)),
        hop_samples=positive,
        window_steps=positive,
        first_steps=positive,
    ),
    precision=st.just("int8"),
    artefact_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    source=st.text(st.characters(codec="utf-8")),
)
options = st.builds(
    StreamOptions,
    max_streams=st.integers(1, 1_000),
    idle_seconds=st.floats(60, 86_400),
    hop_seconds=seconds,
    window_seconds=st.none() | seconds,
    threads=st.none() | st.integers(1, 64),
)


@given(contracts, options)
def test_contract_and_options_survive_the_text(
    contract: StreamContract, asked: StreamOptions
) -> None:
    config = StreamConfig("muq_stream", contract, asked)
    message = parse_config(as_text(config.to_protobuf()))
    assert message == config.to_protobuf()
    assert StreamContract.from_parameters(parameters_of(message)) == contract
    assert options_of(parameters_of(message)) == asked


@given(contracts, options)
def test_the_server_outlasts_the_model(contract: StreamContract, asked: StreamOptions) -> None:
    message = StreamConfig("muq_stream", contract, asked).to_protobuf()
    batching = message.sequence_batching
    # A stream is dropped by the model first, and a refused one reaches it to be refused.
    assert batching.max_sequence_idle_microseconds > 1e6 * asked.idle_seconds
    assert batching.max_sequence_idle_microseconds >= 3e6 * asked.hop_seconds
    assert batching.oldest.max_candidate_sequences > asked.max_streams
    assert 1 <= message.max_batch_size <= asked.max_streams
    assert [group.count for group in message.instance_group] == [1]


@given(contracts)
def test_chunks_of_any_length_share_a_batch(contract: StreamContract) -> None:
    message = StreamConfig("muq_stream", contract).to_protobuf()
    assert all(each.optional and each.allow_ragged_batch for each in message.input)
    tensors = {each.name: list(each.dims) for each in [*message.input, *message.output]}
    assert tensors == {
        "waveform": [-1],
        "pcm": [-1],
        "rate_hz": [1],
        "chunk_index": [1],
        "tags": [-1, 3],
        "seconds": [-1, 2],
        "silent": [-1],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_streams": 0},
        {"max_streams": 1 << 20},
        {"idle_seconds": float("inf")},
        {"hop_seconds": 0},
        {"window_seconds": float("nan")},
        {"threads": 0},
        {"idle_seconds": 1.4, "hop_seconds": 0.5},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        StreamOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lengths", ["{}", "[1]", '{"hop_samples":0,"window_steps":1,"first_steps":1}', "nonsense"]
)
@given(contracts)
@settings(max_examples=3)
def test_parameters_of_something_else_are_refused(lengths: str, contract: StreamContract) -> None:
    parameters = contract.to_parameters()
    with pytest.raises(ValueError, match="_Lengths"):
        StreamContract.from_parameters({**parameters, "muqrt.sliding": lengths})
    del parameters["muqrt.sliding"]
    with pytest.raises(KeyError, match=r"muqrt\.sliding"):
        StreamContract.from_parameters(parameters)
