"""Parity on the terminal: a line for each check, and more only when asked for."""

import pytest

from muqrt.common.console import Table
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.manifest import Artefact, load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

pytest.importorskip("torch")

from muqrt.cli.export.report import parity_tables


@pytest.fixture
def artefact() -> Artefact:
    return load_bundle(SHIPPED_BUNDLE).artefact(None)


def checks(table: Table) -> dict[tuple[str, str], list[str]]:
    return {(str(row[0]), str(row[1])): list(map(str, row[2:])) for row in table.rows}


def test_a_line_for_each_check(artefact: Artefact) -> None:
    (table,) = parity_tables([artefact])
    found = checks(table)
    assert len(found) == len(table.rows)
    assert artefact.certificate is not None
    tags = [each for each in artefact.certificate.measurements if each.output == "tags"]
    worst = max(tags, key=lambda each: each.largest_difference)  # type: ignore[union-attr]
    threshold = THRESHOLDS["fp32"].largest_tag_change
    assert found["tags", "largest difference"] == [
        f"{worst.largest_difference:.1e}",  # type: ignore[union-attr]
        f"at most {threshold:g}",
        "yes",
        worst.audio,
    ]
    assert found["features", "worst frame cosine"][1] == "at least 0.999999"
    assert {row[2] for row in found.values()} == {"yes"}


def test_the_rest_with_verbose(artefact: Artefact) -> None:
    assert artefact.certificate is not None
    summary, rest = parity_tables([artefact], verbose=True)
    assert summary == parity_tables([artefact])[0]
    assert len(rest.rows) == len(artefact.certificate.measurements) > len(summary.rows)


def test_a_check_that_fails_is_the_one_that_says_so(artefact: Artefact) -> None:
    certificate = artefact.certificate
    assert certificate is not None
    worse = [
        each.model_copy(update={"relative_l2": 0.5}) if each.output == "embedding" else each
        for each in certificate.measurements
    ]
    failed = certificate.model_copy(update={"measurements": worse, "passed": False})
    (table,) = parity_tables([artefact.model_copy(update={"certificate": failed})])
    assert "FAILED" in table.title
    not_passed = [check for check, row in checks(table).items() if row[2] == "NO"]
    assert not_passed == [("embedding", "relative l2")]
