"""Addresses on the hub: what is one, and what each part is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.errors import UsageError
from muqrt.runtime.hub.address import HubAddress, is_hub_address


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("hf://me/mini", "me/mini", None),
        ("me/mini", "me/mini", None),
        ("hf://me/mini@v1.0", "me/mini", "v1.0"),
        ("hf://OpenMuQ/MuQ-large-msd_iter@refs/pr/1", "OpenMuQ/MuQ-large-msd_iter", "refs/pr/1"),
        (str(Path("hf://me/mini@main")), "me/mini", "main"),
    ],
)
def test_parts(text: str, repository: str, revision: str | None) -> None:
    assert HubAddress.parse(text) == HubAddress(repository, revision)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hf://",
        "hf://mini",
        "hf://me/mini/bundle.json",
        "hf://me/-mini",
        "hf://me/mi..ni",
        "hf://me/mini.git",
        "hf://../mini",
        "hf://me/mini@",
        "hf://me/mini@../../x",
        "hf://me/mini@a//b",
        "hf://me/mini@/etc",
        "me/mini me",
        f"me/{'n' * 100}",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"no name of a repository|is no revision"):
        HubAddress.parse(text)


def test_folders_are_not_on_the_hub() -> None:
    assert is_hub_address("hf://me/mini") and is_hub_address(Path("hf://me/mini"))
    for place in ("bundle/", "me/mini", Path("hf"), "./hf:/x", None, 3, b"hf://me/mini"):
        assert not is_hub_address(place)


@given(st.text())
def test_any_text_is_an_address_that_comes_back_or_refused(text: str) -> None:
    try:
        found = HubAddress.parse(text)
    except UsageError:
        return
    assert HubAddress.parse(str(found)) == found
    assert ".." not in str(found) and is_hub_address(str(found))
