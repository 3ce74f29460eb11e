"""Pages: which may ask, the static site, and what is told to anybody."""

from pathlib import Path
from typing import Any

import pytest

from muqrt.triton_repo.front.tokens import Tokens

from .conftest import Start, ask

MUSIC = "https://music.example"


def test_only_pages_of_allowed_origins_may_ask(start: Start, clip: Path) -> None:
    gateway, body = start(origins=[MUSIC]), clip.read_bytes()
    status, _, headers = ask(gateway, body=body, origin=MUSIC)
    assert (status, headers["access-control-allow-origin"]) == (200, MUSIC)
    preflight = {"origin": MUSIC, "access_control_request_method": "POST"}
    asked = {"access_control_request_headers": "authorization"}
    status, _, headers = ask(gateway, method="OPTIONS", **preflight, **asked)
    assert (status, headers["access-control-allow-origin"]) == (200, MUSIC)
    status, found, _ = ask(gateway, body=body, origin="https://other.example")
    assert (status, "--allow-origin" in found["error"]) == (403, True)
    assert ask(gateway, body=body, origin=f"http://127.0.0.1:{gateway.port}")[0] == 200


def test_no_page_of_another_origin_may_ask_by_default(start: Start, clip: Path) -> None:
    gateway = start()
    assert ask(gateway, body=clip.read_bytes(), origin=MUSIC)[0] == 403
    assert ask(gateway, body=clip.read_bytes(), origin="null")[0] == 403
    assert ask(start(origins=["*"]), body=clip.read_bytes(), origin=MUSIC)[0] == 200


@pytest.mark.parametrize("host", ["music.example", "localhost.evil.example:8080", "127.0.0.1.nip"])
def test_a_name_that_was_made_to_mean_this_machine_is_not_its_own(
    host: str, start: Start, clip: Path
) -> None:
    gateway, body = start(), clip.read_bytes()
    for scheme in ("http", "https"):
        assert ask(gateway, body=body, host=host, origin=f"{scheme}://{host}")[0] == 403
    assert ask(gateway, "/v1/model", method="GET", host=host)[0] == 403
    allowing = start(origins=[f"https://{host}"])
    assert ask(allowing, body=body, host=host, origin=f"https://{host}")[0] == 200
    assert ask(allowing, "/v1/model", method="GET", host=host)[0] == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8080", "192.168.1.5"])
def test_addresses_and_localhost_are_its_own(host: str, start: Start, clip: Path) -> None:
    body = clip.read_bytes()
    assert ask(start(), body=body, host=host, origin=f"http://{host}")[0] == 200


def test_a_site_is_served_and_nothing_beside_it(start: Start, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "parts").mkdir(parents=True)
    (site / "index.html").write_text("<p>music")
    (site / "parts" / "a.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret").write_text("secret")
    (site / "link").symlink_to(tmp_path / "secret")
    gateway = start(site=site)
    status, found, headers = ask(gateway, "/", method="GET")
    assert (status, found, headers["content-type"].split(";")[0]) == (200, "<p>music", "text/html")
    status, _, headers = ask(gateway, "/parts/a.wasm", method="GET")
    assert (status, headers["content-type"]) == (200, "application/wasm")
    for path in ("/../secret", "/%2e%2e/secret", "/parts/../../secret", "/link", "/v1/other"):
        status, found, _ = ask(gateway, path, method="GET")
        assert (status, "secret" in str(found)) == (404, False), path
    status, _, headers = ask(gateway, "/", b"x")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_what_is_told_to_anybody(start: Start, clip: Path) -> None:
    lines: list[dict[str, Any]] = []
    gateway = start(log=lines.append)
    assert [ask(gateway, path, method="GET")[0] for path in ("/healthz", "/readyz")] == [200, 200]
    assert ask(gateway, "/v1/tags?threshold=0.5", clip.read_bytes())[0] == 200
    metrics = ask(gateway, "/metrics", method="GET")[1]
    assert 'muqrt_gateway_requests_total{path="/v1/tags",status="200"} 1' in metrics
    assert "muqrt_gateway_admitted_total 1" in metrics
    document = ask(gateway, "/openapi.json", method="GET")[1]
    assert set(document["paths"]) >= {"/v1/tags", "/v1/embeddings", "/v1/tokens", "/healthz"}
    page = ask(gateway, "/", method="GET")[1]
    assert "POST /v1/tags" in page and "http" not in page  # of no other origin
    line = next(each for each in lines if each["path"] == "/v1/tags")
    assert {name: line[name] for name in ("client", "method", "status")} == {
        "client": "127.0.0.1",
        "method": "POST",
        "status": 200,
    }
    assert "threshold" not in str(lines)


def test_the_model_is_told_to_those_who_may_ask(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("0123456789abcdef")
    gateway = start(tokens=Tokens(file), origins=[MUSIC])
    assert ask(gateway, "/v1/model", method="GET")[0] == 401
    asked = {"origin": MUSIC, "authorization": "Bearer 0123456789abcdef"}
    status, found, headers = ask(gateway, "/v1/model", method="GET", **asked)
    assert (status, headers["access-control-allow-origin"]) == (200, MUSIC)
    tagging = gateway.backend.session.tagging
    assert found["model"] == "tiny"
    assert found["vocabulary"] == tagging.vocabulary
    assert found["thresholds"] == tagging.limits()
    assert found["groups"] == tagging.groups
