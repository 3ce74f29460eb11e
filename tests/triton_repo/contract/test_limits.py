"""Limits of requests: their defaults for a model and a machine, and their way to the server."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from muqrt.errors import BundleError, UsageError
from muqrt.runtime.bundle.joint import IDS, LATENTS, MASK, Joint
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.triton_repo.contract.artefact import Contract
from muqrt.triton_repo.contract.config import ModelConfig, parameters_of
from muqrt.triton_repo.contract.limits import LIMITS, Limits
from muqrt.triton_repo.contract.mulan import TextConfig, Tower, ZeroShotConfig
from muqrt.triton_repo.contract.options import ServingOptions

from ...framing import muq_framing

JOINT = Joint(
    width=4,
    clip_samples=240_000,
    temperature=10.0,
    tokenizer="tokenizer.json",
    tokenizer_sha256="0" * 64,
    vocabulary=9,
    max_tokens=512,
)


def contract(inputs: list[TensorSpec], output: str = "embedding") -> Contract:
    return Contract(
        framing=muq_framing(720_000),
        level=12,
        precision="fp32",
        artefact_sha256="0" * 64,
        source="tests",
        inputs=inputs,
        outputs=[TensorSpec(name=output, dtype="float32", shape=["batch", 4])],
        meanings=explained(JOINT) if output == LATENTS else {},
    )


AUDIO = contract([TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])])
TEXT = contract([IDS, MASK], LATENTS)


def longest(memory_gib: float | None, **options: object) -> float:
    memory = None if memory_gib is None else round(memory_gib * 2**30)
    config = ModelConfig("muq", AUDIO, ServingOptions(**options), memory_bytes=memory)  # type: ignore[arg-type]
    found = json.loads(parameters_of(config.to_protobuf())[LIMITS])
    assert set(found) == {"max_seconds"}
    return float(found["max_seconds"])


def test_by_default_a_waveform_may_have_four_windows() -> None:
    assert longest(None) == longest(1_000) == longest(4) == 120


def test_less_memory_takes_less_and_every_copy_its_share() -> None:
    assert longest(2) == pytest.approx(2**29 / 8e6)
    assert longest(4, instances=4) == pytest.approx(2**28 / 8e6)


def test_what_clients_are_expected_to_send_is_always_taken() -> None:
    assert longest(0.1) == 30
    assert longest(None, lengths_seconds=(10, 420)) == 420


def test_an_operator_chooses() -> None:
    assert longest(0.1, limits=Limits(max_seconds=600)) == 600
    with pytest.raises(UsageError, match="--max-seconds 20 is less than the 30 s"):
        longest(None, limits=Limits(max_seconds=20))
    assert longest(None, limits=Limits(max_seconds=20), lengths_seconds=(20,)) == 20


def test_a_text_tower_takes_what_it_has_positions_for() -> None:
    config = ModelConfig("tower", TEXT)
    assert json.loads(parameters_of(config.to_protobuf())[LIMITS]) == {"max_tokens": 512}
    fewer = replace(config, options=ServingOptions(limits=Limits(max_tokens=64)))
    assert json.loads(parameters_of(fewer.to_protobuf())[LIMITS]) == {"max_tokens": 64}
    with pytest.raises(UsageError, match=r"limits\.max_tokens is 513; the model takes 512"):
        replace(config, options=ServingOptions(limits=Limits(max_tokens=513)))


def test_models_in_python_have_those_that_concern_them() -> None:
    tower, chosen = Tower("tower", 4, TEXT), Limits(max_text_bytes=99, max_labels=5)
    text = parameters_of(TextConfig("texts", tower, chosen).to_protobuf())
    assert json.loads(text[LIMITS]) == {"max_text_bytes": 99}
    zero_shot = parameters_of(ZeroShotConfig("zeroshot", tower, tower, None, chosen).to_protobuf())
    assert Limits.from_parameters(zero_shot) == chosen


def test_older_models_have_the_defaults() -> None:
    assert Limits.from_parameters({}) == Limits()


@pytest.mark.parametrize("text", ["?", "[]", '{"max_labels": 0}', '{"max_seconds": "long"}'])
def test_limits_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(
        BundleError, match=r"muqrt\.limits cannot be read: .* Write the model again"
    ):
        Limits.from_parameters({LIMITS: text})


@pytest.mark.parametrize("wrong", [{"max_seconds": 0}, {"max_labels": 10_001}, {"max_tokens": -1}])
def test_limits_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Limits(**wrong)  # type: ignore[arg-type]


def test_a_fixed_length_is_the_servers_own_to_check() -> None:
    options = ServingOptions(lengths_seconds=(10,), fixed_length=True)
    (waveform,) = ModelConfig("muq", AUDIO, options).to_protobuf().input
    assert list(waveform.dims) == [240_000]
    with pytest.raises(UsageError, match="fixed_length needs one length"):
        ModelConfig("muq", AUDIO, replace(options, lengths_seconds=(10, 20)))
