"""``config.pbtxt``: what was asked for is what the text says, and what a client reads back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from muqrt.errors import BundleError, UsageError
from muqrt.runtime.bundle.manifest import Framing
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tagging import Tagging
from muqrt.runtime.bundle.tokens import Tokenizer
from muqrt.runtime.inference.windows import WindowingConfig
from muqrt.triton_repo.contract.artefact import Contract
from muqrt.triton_repo.contract.config import (
    LENGTHS,
    ModelConfig,
    as_text,
    parameters_of,
    parse_config,
)
from muqrt.triton_repo.contract.options import QueuePolicy, RateLimit, ServingOptions, with_given

from ...framing import muq_framing, muq_tagging

positive = st.integers(1, 1 << 20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
dimensions = st.one_of(positive, st.sampled_from(["samples", "steps"]))
specs = st.builds(
    TensorSpec,
    name=names,
    dtype=st.sampled_from(["float32", "float16", "int64", "uint8"]),
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
    max_queue_size=st.none() | positive,
    queue_timeout_us=st.none() | positive,
    bulk_queue=st.none() | st.builds(QueuePolicy, positive, st.none() | positive),
    instances=st.integers(1, 8),
    threads=st.none() | st.integers(1, 64),
    version=st.integers(1, 99),
    rate_limit=st.none()
    | st.builds(
        RateLimit, st.dictionaries(names, st.integers(1, 9), max_size=2), st.integers(1, 9)
    ),
)
configs = st.builds(
    ModelConfig, name=names, contract=contracts, options=options, kind=st.just("KIND_CPU")
)


@given(configs)
@settings(max_examples=30, deadline=None)
def test_text_says_everything_that_was_asked_for(config: ModelConfig) -> None:
    message = parse_config(as_text(config.to_protobuf()))
    assert message == config.to_protobuf()
    asked = config.options
    batching = message.dynamic_batching
    assert message.max_batch_size == asked.max_batch_size
    assert tuple(batching.preferred_batch_size) == asked.preferred_batch_sizes
    assert batching.max_queue_delay_microseconds == asked.max_queue_delay_us
    bounds = asked.max_queue_size or 0, asked.queue_timeout_us or 0
    policy = batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == bounds
    assert policy.timeout_action == 0  # REJECT: UNAVAILABLE
    # Any policy or priority, and Triton no longer fetches ahead.
    fetches_ahead = bounds == (0, 0) and not batching.priority_levels
    assert asked.may_stall == (not fetches_ahead)
    if asked.bulk_queue is None:
        assert not batching.priority_levels
    else:
        assert (batching.priority_levels, batching.default_priority_level) == (2, 1)
        (bulk,) = batching.priority_queue_policy.items()
        assert bulk[0] == 2
        assert bulk[1].max_queue_size == asked.bulk_queue.max_size
        assert bulk[1].default_timeout_microseconds == (asked.bulk_queue.timeout_us or 0)
    assert list(message.version_policy.specific.versions) == [asked.version]
    (group,) = message.instance_group
    assert group.count == asked.instances
    assert group.HasField("rate_limiter") == (asked.rate_limit is not None)
    if asked.rate_limit is not None:
        taken = {each.name: each.count for each in group.rate_limiter.resources}
        assert taken == asked.rate_limit.resources
        assert group.rate_limiter.priority == asked.rate_limit.priority
    assert not message.HasField("response_cache")
    assert not message.HasField("optimization")
    threads = parameters_of(message).get("intra_op_thread_count")
    assert threads == (None if asked.threads is None else str(asked.threads))


@given(contracts)
def test_contract_survives_the_text(contract: Contract) -> None:
    message = parse_config(as_text(ModelConfig(name="muq", contract=contract).to_protobuf()))
    assert Contract.from_parameters(parameters_of(message)) == contract


@given(contracts, taggings)
def test_what_tags_mean_survives_the_text(contract: Contract, tagging: Tagging) -> None:
    output = TensorSpec(name="tags", dtype="float32", shape=["batch", len(tagging.vocabulary)])
    tagged = replace(contract, outputs=[*contract.outputs, output], meanings=explained(tagging))
    message = parse_config(as_text(ModelConfig(name="muq", contract=tagged).to_protobuf()))
    assert list(message.output[-1].dims) == [len(tagging.vocabulary)]
    assert Contract.from_parameters(parameters_of(message)) == tagged


@pytest.mark.parametrize("level", [None, 3])
@given(contracts)
@settings(max_examples=20, deadline=None)
def test_what_tokens_mean_survives_the_text(level: int | None, contract: Contract) -> None:
    tokenizer = Tokenizer(stages=8, codes=1024, level=level, rvq_sha256="0" * 64)
    outputs = [*contract.outputs, tokenizer.spec]
    tokenized = replace(contract, outputs=outputs, meanings=explained(tokenizer))
    message = parse_config(as_text(ModelConfig(name="muq", contract=tokenized).to_protobuf()))
    assert list(message.output[-1].dims) == [8, -1]
    assert "data_type: TYPE_INT32" in str(message.output[-1])
    assert Contract.from_parameters(parameters_of(message)) == tokenized
    with pytest.raises(ValidationError, match="by the tokenizer"):
        replace(contract, outputs=outputs)


@given(contracts, taggings)
def test_tags_without_their_meaning_are_refused(contract: Contract, tagging: Tagging) -> None:
    wider = len(tagging.vocabulary) + 1
    output = TensorSpec(name="tags", dtype="float32", shape=["batch", wider])
    for outputs, meaning in (([], tagging), ([output], tagging), ([output], None)):
        with pytest.raises(ValidationError, match="outputs 'tags'"):
            replace(contract, outputs=outputs, meanings=explained(meaning))


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


def muq(**options: object) -> ModelConfig:
    """The configuration of MuQ's embedding by these options."""
    backend = options.pop("backend", "onnxruntime")
    kind = options.pop("kind", "KIND_AUTO")
    contract = Contract(
        framing=muq_framing(720_000),
        level=12,
        precision="fp32",
        artefact_sha256="0" * 64,
        source="tests",
        inputs=[TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])],
        outputs=[TensorSpec(name="embedding", dtype="float32", shape=["batch", 1024])],
    )
    return ModelConfig("muq", contract, ServingOptions(**options), kind, backend)  # type: ignore[arg-type]


def warmed_up(config: ModelConfig) -> list[int]:
    message = parse_config(as_text(config.to_protobuf()))
    lengths = [each.inputs["waveform"].dims[0] for each in message.model_warmup]
    assert json.loads(parameters_of(message)[LENGTHS]) == lengths
    return lengths


def test_every_length_is_warmed_up_and_told_to_clients() -> None:
    assert warmed_up(muq()) == [720_000]
    assert warmed_up(muq(lengths_seconds=(10, 0.5, 30, 10.0))) == [12_000, 240_000, 720_000]
    tagging = muq_tagging(["a"], window_seconds=10.03)
    tags = TensorSpec(name="tags", dtype="float32", shape=["batch", 1])
    contract = replace(muq().contract, outputs=[tags], meanings=explained(tagging))
    # The tags' window in whole steps, as those who ask for tags cut it.
    window = WindowingConfig.every(contract.framing, 10.03).framing.window_samples
    assert warmed_up(replace(muq(), contract=contract)) == [window, 720_000]


def test_cuda_graphs_are_of_each_batch_and_length() -> None:
    config = muq(
        backend="tensorrt",
        kind="KIND_GPU",
        cuda_graphs=True,
        max_batch_size=8,
        preferred_batch_sizes=(4,),
        lengths_seconds=(1, 2),
        gpus=(1, 3),
    )
    message = parse_config(as_text(config.to_protobuf()))
    cuda = message.optimization.cuda
    assert cuda.graphs
    found = [(each.batch_size, list(each.input["waveform"].dim)) for each in cuda.graph_spec]
    assert found == [(batch, [length]) for batch in (1, 4, 8) for length in (24_000, 48_000)]
    # Graphs for a range of shapes run on uninitialised memory.
    assert not any(each.HasField("graph_lower_bound") for each in cuda.graph_spec)
    assert list(message.instance_group[0].gpus) == [1, 3]


def test_chosen_gpus_are_gpus() -> None:
    (group,) = muq(gpus=(1,)).to_protobuf().instance_group
    assert (type(group).Kind.Name(group.kind), list(group.gpus)) == ("KIND_GPU", [1])


def test_the_response_cache_is_on_when_asked_for() -> None:
    assert muq(response_cache=True, max_batch_size=1).to_protobuf().response_cache.enable


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cuda_graphs": True}, "CUDA graphs need TensorRT"),
        ({"backend": "tensorrt", "threads": 2}, "threads are for engines on the CPU"),
        ({"kind": "KIND_CPU", "gpus": (0,)}, "artefact is for the CPU"),
        ({"response_cache": True, "max_batch_size": 2}, "--max-batch-size 1"),
        ({"lengths_seconds": (10, 0.04)}, r"0\.04 s; the model needs at least 0\.043 s"),
        ({"max_batch_size": 4, "preferred_batch_sizes": (2, 8)}, "exceed the largest batch, 4"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        muq(**wrong)


def test_a_cache_that_would_mix_up_outputs_is_refused() -> None:
    config = muq(response_cache=True, max_batch_size=1)
    features = TensorSpec(name="features", dtype="float32", shape=["batch", "steps", 1024])
    contract = replace(config.contract, outputs=[*config.contract.outputs, features])
    with pytest.raises(UsageError, match="Serve one of embedding, features"):
        replace(config, contract=contract)


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
        {"version": 0},
        {"lengths_seconds": (float("nan"),)},
        {"gpus": (-1,)},
        {"rate_limit": {"resources": {"gpu": 0}}},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServingOptions(**wrong)  # type: ignore[arg-type]


def test_given_options_win_and_wrong_ones_are_named() -> None:
    begin = ServingOptions(max_batch_size=8, instances=2)
    given = {"max_batch_size": 16, "instances": None, "max_queue_delay_us": 0}
    assert with_given(begin, given) == replace(begin, max_batch_size=16, max_queue_delay_us=0)
    with pytest.raises(UsageError, match=r"instances: .*greater than 0"):
        with_given(begin, {"instances": 0})


def test_text_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        parse_config("nonsense: 1")
