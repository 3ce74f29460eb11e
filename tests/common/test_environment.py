"""Packages that only some commands need are imported, or it is said why not."""

import platform
import sys
from pathlib import Path

import pytest

from muqrt.common.environment import cpu_name, import_extra, processor_kind
from muqrt.errors import MissingDependencyError


def test_the_first_module_is_returned() -> None:
    assert import_extra("train", "json.decoder", "json") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("raise ImportError('libcuda.so.1: cannot open')", "libcuda.so.1: cannot open"),
    ],
)
def test_why_it_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    (tmp_path / "broken_extra.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError) as error:
        import_extra("gpu", "json", "broken_extra")
    assert str(error.value) == (
        f"broken_extra is needed for this and cannot be imported ({why}). "
        "Run: pip install 'muqrt[gpu]'"
    )


CORTEX_A72 = """processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC: 9004\n", "AMD EPYC: 9004"),
        (CORTEX_A72, "aarch64, implementer 0x41, part 0xd08"),
        ("processor\t: 0\n", "aarch64"),
    ],
)
def test_a_processor_has_a_name(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(Path, "read_text", lambda path, **options: text)
    assert cpu_name() == name


ZEN_4 = "cpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu avx2 avx512bw avx512_vnni avx512_bf16\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ZEN_4, "family 25 model 17, AVX2, AVX-512, AVX-512 VNNI, AVX-512 BF16"),
        ("cpu family\t: 25\nmodel\t\t: 1\nflags\t\t: fpu avx2\n", "family 25 model 1, AVX2"),
        (CORTEX_A72, "aarch64"),
    ],
)
def test_a_processor_has_a_kind(monkeypatch: pytest.MonkeyPatch, text: str, kind: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(Path, "read_text", lambda path, **options: text)
    assert processor_kind() == kind
