"""How an engine is built: only what makes sense, the same after the manifest."""

import pytest

from muqrt.errors import UsageError
from muqrt.runtime.bundle.artefact import Artefact
from muqrt.runtime.bundle.engine_options import (
    NEVER_RUN,
    CoreMlPlan,
    EngineOptions,
    PhonePlan,
    Profile,
    engine_options,
    lengths,
    window_of,
)


def test_the_default_covers_whatever_a_bundle_runs() -> None:
    options = EngineOptions()
    assert options.profiles[0].waveforms == ((1, 1_025), (8, 240_000), (32, 720_000))
    assert options.profile_of((1, 1_025)) == options.profile_of((32, 720_000)) == 0
    for outside in ((1, 1_024), (33, 240_000), (1, 720_001)):
        assert options.profile_of(outside) == -1


def test_the_first_profile_that_covers_a_shape_is_taken() -> None:
    narrow = Profile(window_seconds=(10, 10, 10), batch=(1, 8, 32))
    options = EngineOptions(profiles=(narrow, Profile()))
    assert options.profile_of((3, 240_000)) == 0
    assert options.profile_of((3, 239_999)) == 1


def test_they_survive_the_manifest_without_this_machines_paths() -> None:
    options = engine_options("5,10,30", "1,8,32", timing_cache="/tmp/cache", inspect=True)
    assert options.inspect and options.timing_cache is not None
    written = options.model_dump_json()
    assert "cache" not in written and "inspect" not in written
    read = EngineOptions.model_validate_json(written)
    assert read.profiles == options.profiles
    assert read.model_dump_json() == written
    assert EngineOptions.model_validate_json(EngineOptions().model_dump_json()) == EngineOptions()


def test_they_are_printed_for_people() -> None:
    variants = {"version_compatible": True, "weight_streaming": True}
    options = engine_options("5,10,30", "4", fused_kernels=False, **variants)
    assert str(options) == (
        "batches of 4 to 4 of 5 to 30 s (best: 4 of 10 s); workspace 4096 MiB; optimization level "
        "3; no fused kernels; version compatible; weight streaming"
    )


def test_what_was_not_given_is_the_default() -> None:
    assert engine_options(None, None, fused_kernels=None, timing_cache=None) == EngineOptions()


@pytest.mark.parametrize(
    ("window_seconds", "batch", "others", "message"),
    [
        ("5,10", None, {}, "5,10.*give the smallest, likeliest and largest"),
        ("10,5,30", None, {}, "window_seconds is .* give the smallest"),
        ("0.01", None, {}, r"a window of 0\.01 s; the model needs at least 0\.043 s"),
        ("ten", None, {}, r"window_seconds\.0: Input should be a valid number"),
        ("-1", None, {}, "greater than 0"),
        ("nan", None, {}, "finite number"),
        ("inf", None, {}, "finite number"),
        (None, "0,1,2", {}, r"batch\.0.*greater than 0"),
        (None, "1.5", {}, r"batch\.0.*integer"),
        (None, None, {"optimization_level": 6}, "optimization_level.*less than or equal to 5"),
        (None, None, {"hardware_compatibility": "turing"}, "hardware_compatibility.*ampere_plus"),
        (None, None, {"hardware_compatibility": "ampere_plus"}, "needs --no-plugins"),
        (None, None, {"stripped": True, "refit": True}, "--strip excludes --refit"),
    ],
)
def test_nonsense_is_refused(
    window_seconds: str | None, batch: str | None, others: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        engine_options(window_seconds, batch, **others)


@pytest.mark.parametrize(
    "plan",
    [
        PhonePlan(options=lengths(0.05, 10, 30)),
        CoreMlPlan(experimental=NEVER_RUN, options=window_of("10", 5)),
    ],
)
def test_a_plan_of_an_artefact_for_phones_is_read_back_as_it_was(plan: PhonePlan) -> None:
    engine = "coreml" if isinstance(plan, CoreMlPlan) else "executorch"
    artefact = Artefact(
        name="a",
        engine=engine,
        precision="fp32",
        target="cpu",
        file="a.bin",
        files={"a.bin": "0" * 64},
        level=1,
        inputs=[],
        outputs=[],
        plan=plan,
    )
    read = Artefact.model_validate_json(artefact.model_dump_json())
    assert type(read.plan) is type(plan)
    assert read.digest == artefact.digest  # or its certificate would be void
