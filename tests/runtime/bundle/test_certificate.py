"""The gates are those that were promised, and no figure that is not a number gets through."""

from math import inf, nan, nextafter

import pytest
from pydantic import ValidationError

from muqrt.runtime.bundle.certificate import (
    RANK_TIE,
    THRESHOLDS,
    TIE_ERRORS,
    AnyMeasurement,
    Certificate,
    Measurement,
    RankMeasurement,
    Thresholds,
    TokenMeasurement,
    certifies,
)

PROMISED = {
    "fp32": (0.999999, 1e-4, 1e-4, 0.9999, 0.99999, 0.9999),
    "fp16": (0.9995, 2e-2, 5e-3, 0.99, 0.999, 0.99),
    "bf16": (0.9995, 2e-2, 5e-3, 0.99, 0.999, 0.99),
    "int8": (0.99, 8e-2, 2e-2, 0.9999, 0.99, 0.9),
    "fp8": (0.99, 8e-2, 2e-2, 0.9999, 0.99, 0.9),
    "int8-weights": (0.99, 8e-2, 2e-2, 0.9999, 0.99, 0.9),
    "int4-weights": (0.99, 8e-2, 2e-2, 0.9999, 0.99, 0.9),
}


def measurement(cosine: float = 1.0, relative: float = 0.0, **figures: object) -> Measurement:
    facts = {
        "audio": "song.flac",
        "seconds": 1.0,
        "output": "features",
        "finite": True,
        "worst_frame_cosine": cosine,
        "relative_l2": relative,
        "largest_difference": 0.0,
    }
    return Measurement.model_validate(facts | figures)


def token_measurement(equal: float = 1.0, tokens: int = 8) -> TokenMeasurement:
    return TokenMeasurement(audio="song.flac", seconds=1.0, tokens=tokens, equal_tokens=equal)


def rank_measurement(equal: float = 1.0, pairs: int = 100) -> RankMeasurement:
    return RankMeasurement(audio="song.flac", seconds=1.0, pairs=pairs, equal_ranks=equal)


def certificate(measurements: list[AnyMeasurement], passed: bool) -> Certificate:
    return Certificate(
        precision="fp32",
        artefact_sha256="0" * 64,
        reference="a test",
        created="2026-01-01T00:00:00Z",
        environment={},
        measurements=measurements,
        passed=passed,
    )


def test_the_thresholds_are_those_promised() -> None:
    assert {
        name: (
            each.worst_frame_cosine,
            each.relative_l2,
            each.largest_tag_change,
            each.equal_tokens,
            each.worst_latents_cosine,
            each.equal_ranks,
        )
        for name, each in THRESHOLDS.items()
    } == PROMISED
    assert (TIE_ERRORS, RANK_TIE) == (2.0, 1e-3)


def test_the_thresholds_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        THRESHOLDS["fp32"].relative_l2 = 1.0


@pytest.mark.parametrize("precision", PROMISED)
def test_a_threshold_is_the_last_value_that_passes(precision: str) -> None:
    cosine, relative, change, equal, latents, ranks = PROMISED[precision]
    assert certifies(precision, [measurement(cosine, relative)])
    assert not certifies(precision, [measurement(nextafter(cosine, -1), relative)])
    assert not certifies(precision, [measurement(cosine, nextafter(relative, 1))])
    tags = {"output": "tags", "largest_difference": change}
    assert certifies(precision, [measurement(**tags)])
    tags["largest_difference"] = nextafter(change, 1)
    assert not certifies(precision, [measurement(**tags)])
    assert certifies(precision, [token_measurement(equal)])
    assert not certifies(precision, [token_measurement(nextafter(equal, 0))])
    assert certifies(precision, [measurement(latents, output="latents")])
    assert not certifies(precision, [measurement(nextafter(latents, -1), output="latents")])
    assert certifies(precision, [rank_measurement(ranks)])
    assert not certifies(precision, [rank_measurement(nextafter(ranks, 0))])


def test_tags_are_judged_by_their_largest_change_and_nothing_else_is() -> None:
    assert certifies("fp32", [measurement(-1.0, 1e30, output="tags", largest_difference=1e-5)])
    assert certifies("fp32", [measurement(output="features", largest_difference=1e3)])


def test_latents_are_judged_by_their_cosine_and_their_ranks() -> None:
    assert certifies("fp32", [measurement(0.99999, 1e30, output="latents")])
    assert certifies("fp32", [measurement(output="latents"), rank_measurement(0.0, pairs=0)])
    found = certificate([measurement(0.5, output="latents"), rank_measurement(0.25)], False)
    assert (found.worst.worst_latents_cosine, found.worst.equal_ranks) == (0.5, 0.25)
    assert (found.worst.worst_frame_cosine, found.worst.relative_l2) == (1.0, 0.0)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("figure", ["worst_frame_cosine", "relative_l2", "largest_difference"])
def test_a_figure_that_is_not_finite_never_passes(figure: str, bad: float) -> None:
    loosest = Thresholds(
        worst_frame_cosine=-inf,
        relative_l2=inf,
        largest_tag_change=inf,
        equal_tokens=0,
        worst_latents_cosine=-inf,
        equal_ranks=0,
    )
    for output in ("features", "tags", "latents"):
        assert measurement(output=output).passes(loosest)
        assert not measurement(output=output, **{figure: bad}).passes(loosest)


def test_an_output_that_was_not_finite_never_passes() -> None:
    assert not certifies("fp8", [measurement(finite=False)])


@pytest.mark.parametrize("bad", [nan, inf, -0.1, 1.1])
def test_a_share_of_tokens_is_a_share(bad: float) -> None:
    with pytest.raises(ValidationError, match="equal_tokens"):
        token_measurement(bad)


def test_nothing_measured_proves_nothing() -> None:
    assert not certifies("fp8", [])
    assert not certifies("fp8", [token_measurement(tokens=0)])
    with pytest.raises(ValidationError, match="its own figures say otherwise"):
        certificate([], passed=True)


def test_one_bad_audio_fails_all() -> None:
    good, bad = measurement(), measurement(relative=1.01e-4)
    assert certifies("fp32", [good, token_measurement(), good])
    assert not certifies("fp32", [good, bad, good])
    assert not certifies("fp32", [good, token_measurement(0.9998), good])


def test_shares_are_of_all_audio_together() -> None:
    # One token of a short excerpt is far more than one in 10,000 of it.
    short, long = token_measurement(271 / 272, 272), token_measurement(1.0, 13_232)
    assert certifies("fp32", [short, long])
    assert certificate([short, long], True).worst.equal_tokens == pytest.approx(1 - 1 / 13_504)
    assert not certifies("fp32", [short, short, long])
    # Of fewer than 10,000 one is too much, wherever it is.
    assert not certifies("fp32", [short, token_measurement(1.0, 9_000)])
    few, many = rank_measurement(0.5, 2), rank_measurement(1.0, 98)
    assert certifies("fp16", [few, many]) and not certifies("fp16", [few])


def test_a_passing_verdict_follows_from_the_figures() -> None:
    with pytest.raises(ValidationError, match="passed=True"):
        certificate([measurement(relative=1.0)], True)
    assert not certificate([measurement(relative=1.0)], False).passed


def test_what_failed_by_an_older_gate_stays_failed() -> None:
    older = certificate([token_measurement(271 / 272, 272), token_measurement(1.0, 13_232)], False)
    assert not Certificate.model_validate_json(older.model_dump_json()).passed


def test_a_certificate_survives_json() -> None:
    written = certificate(
        [measurement(0.9999999, 3e-5), token_measurement(), rank_measurement()], passed=True
    )
    assert Certificate.model_validate_json(written.model_dump_json()) == written
