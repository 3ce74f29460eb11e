"""The gateway against its own OpenAPI document, by schemathesis: no answer is a 5xx."""

import pytest

from muqrt.gateway.limits import GatewayLimits
from muqrt.gateway.server import Gateway

from .conftest import Start

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


def _prove(gateway: Gateway, examples: int) -> int:
    """Ask every operation so many things; returns how many were asked in all."""
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=examples,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def prove(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                case.validate_response(case.call(), checks=CHECKS)

            try:
                prove()
            except Exception as error:
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                    raise
    return asked


def test_no_request_of_its_document_is_an_error_of_the_server(start: Start) -> None:
    assert _prove(start(limits=GatewayLimits(upload_bytes=1 << 20)), 2) > 12


@pytest.mark.full
def test_thousands_of_them_are_none(start: Start) -> None:
    gateway = start(limits=GatewayLimits(upload_bytes=1 << 20), allow_urls=True)
    assert _prove(gateway, 300) > 2_000
    assert gateway.admission.running == 0
