"""``config.pbtxt``: what was asked for is what the text says, and what a client reads back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from muqrt.errors import BundleError
from muqrt.runtime.bundle import Framing, TensorSpec
from muqrt.runtime.tagging import Tagging
from muqrt.runtime.tokens import Tokenizer
from muqrt.triton_repo.config import (
    Contract,
    ModelConfig,
    ServingOptions,
    parameters_of,
    parse_config,
)

positive = st.integers(1, 1 << 20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
dimensions = st.one_of(positive, st.sampled_from(["samples", "steps"]))
specs = st.builds(
    TensorSpec,
    name=names,
    dtype=st.sampled_from(["float32", "float16", "int64", "bool"]),
    shape=st.lists(dimensions, min_size=1, max_size=3).map(lambda dims: ["batch", *dims]),
)
spec_lists = st.lists(specs, min_size=1, max_size=3, unique_by=lambda spec: spec.name)
vocabularies = st.lists(
    # Any tag at all: quotes, backslashes and other alphabets must survive the text.
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(str.isprintable),
    min_size=1,
    max_size=5,
    unique=True,
)
taggings = vocabularies.flatmap(
    lambda vocabulary: st.builds(
        Tagging,
        task=st.just("tagging"),
        vocabulary=st.just(vocabulary),
        thresholds=st.lists(st.floats(0, 1), min_size=len(vocabulary), max_size=len(vocabulary)),
        window_seconds=st.floats(1, 600),
        head_sha256=st.just("0" * 64),
        figures=st.dictionaries(names, st.floats(0, 1), max_size=2),
    )
)
contracts = st.builds(
    Contract,
    framing=st.builds(Framing, **dict.fromkeys(Framing.model_fields, positive)),
    level=st.integers(0, 12),
    precision=st.just("fp32"),
    artefact_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    # Any text at all: a checkpoint's path may have quotes, backslashes and line breaks in it.
    source=st.text(st.characters(codec="utf-8")),
    inputs=spec_lists,
    outputs=spec_lists,
)
options = st.builds(
    ServingOptions,
    max_batch_size=st.integers(8, 64),
    preferred_batch_sizes=st.lists(st.integers(1, 8), max_size=3).map(tuple),
    max_queue_delay_us=st.integers(0, 1 << 40),
    max_queue_size=positive,
    queue_timeout_us=positive,
    instances=st.integers(1, 8),
    threads=st.none() | st.integers(1, 64),
)
configs = st.builds(
    ModelConfig, name=names, contract=contracts, options=options, kind=st.just("KIND_CPU")
)


@given(configs)
def test_text_says_everything_that_was_asked_for(config: ModelConfig) -> None:
    message = parse_config(config.to_text())
    assert message == config.to_protobuf()
    asked = config.options
    batching = message.dynamic_batching
    assert message.max_batch_size == asked.max_batch_size
    assert tuple(batching.preferred_batch_size) == asked.preferred_batch_sizes
    assert batching.max_queue_delay_microseconds == asked.max_queue_delay_us
    assert batching.default_queue_policy.max_queue_size == asked.max_queue_size
    assert batching.default_queue_policy.default_timeout_microseconds == asked.queue_timeout_us
    assert message.instance_group[0].count == asked.instances
    threads = parameters_of(message).get("intra_op_thread_count")
    assert threads == (None if asked.threads is None else str(asked.threads))


@given(contracts)
def test_contract_survives_the_text(contract: Contract) -> None:
    message = parse_config(ModelConfig(name="muq", contract=contract).to_text())
    assert Contract.from_parameters(parameters_of(message)) == contract


@given(contracts, taggings)
def test_what_tags_mean_survives_the_text(contract: Contract, tagging: Tagging) -> None:
    output = TensorSpec(name="tags", dtype="float32", shape=["batch", len(tagging.vocabulary)])
    tagged = replace(contract, outputs=[*contract.outputs, output], tagging=tagging)
    message = parse_config(ModelConfig(name="muq", contract=tagged).to_text())
    assert list(message.output[-1].dims) == [len(tagging.vocabulary)]
    assert Contract.from_parameters(parameters_of(message)) == tagged


@pytest.mark.parametrize("level", [None, 3])
@given(contracts)
@settings(max_examples=20, deadline=None)
def test_what_tokens_mean_survives_the_text(level: int | None, contract: Contract) -> None:
    tokenizer = Tokenizer(stages=8, codes=1024, level=level, rvq_sha256="0" * 64)
    outputs = [*contract.outputs, tokenizer.spec]
    tokenized = replace(contract, outputs=outputs, tokenizer=tokenizer)
    message = parse_config(ModelConfig(name="muq", contract=tokenized).to_text())
    assert list(message.output[-1].dims) == [8, -1]
    assert "data_type: TYPE_INT32" in str(message.output[-1])
    assert Contract.from_parameters(parameters_of(message)) == tokenized
    with pytest.raises(ValidationError, match="by the tokenizer"):
        replace(contract, outputs=outputs)
    with pytest.raises(ValidationError, match="by the tokenizer"):
        replace(contract, tokenizer=tokenizer)


@given(contracts, taggings)
def test_tags_without_their_meaning_are_refused(contract: Contract, tagging: Tagging) -> None:
    wider = len(tagging.vocabulary) + 1
    output = TensorSpec(name="tags", dtype="float32", shape=["batch", wider])
    for outputs, meaning in (([], tagging), ([output], tagging), ([output], None)):
        with pytest.raises(ValidationError, match="outputs 'tags'"):
            replace(contract, outputs=outputs, tagging=meaning)


@given(configs)
def test_tensors_lose_their_batch_and_their_symbols(config: ModelConfig) -> None:
    message = config.to_protobuf()
    for spec, tensor in zip(config.contract.outputs, message.output, strict=True):
        expected = [-1 if isinstance(size, str) else size for size in spec.shape[1:]]
        assert (tensor.name, list(tensor.dims)) == (spec.name, expected)


@given(configs)
def test_warm_up_is_one_window_of_zeros(config: ModelConfig) -> None:
    (warm_up,) = config.to_protobuf().model_warmup
    assert warm_up.batch_size == 1
    assert set(warm_up.inputs) == {spec.name for spec in config.contract.inputs}
    for spec in config.contract.inputs:
        tensor = warm_up.inputs[spec.name]
        window = config.contract.framing.window_samples
        assert tensor.zero_data
        assert list(tensor.dims) == [window if isinstance(d, str) else d for d in spec.shape[1:]]


@pytest.mark.parametrize("shape", [[4, "samples"], ["batch"], []])
def test_a_tensor_without_a_dynamic_batch_is_refused(shape: list[int | str]) -> None:
    spec = TensorSpec(name="waveform", dtype="float32", shape=shape)
    contract = Contract(
        framing=Framing(**dict.fromkeys(Framing.model_fields, 1)),
        level=0,
        precision="fp32",
        artefact_sha256="",
        source="",
        inputs=[spec],
        outputs=[],
    )
    with pytest.raises(BundleError, match=r"waveform.*dynamic batch"):
        ModelConfig(name="muq", contract=contract).to_protobuf()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_size": 0},
        {"max_queue_size": 0},
        {"threads": 0},
        {"max_batch_size": 4, "preferred_batch_sizes": (8,)},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServingOptions(**wrong)  # type: ignore[arg-type]


def test_text_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        parse_config("nonsense: 1")
