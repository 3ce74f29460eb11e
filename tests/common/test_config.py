"""Options from TOML: the file, the flags over it, and the effective configuration written back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import Field, FiniteFloat, PositiveInt
from pydantic.dataclasses import dataclass as validated

from muqrt.common.config import read_toml, save_config, with_config
from muqrt.errors import UsageError


@validated(frozen=True)
class Queue:
    size: PositiveInt
    timeout_us: PositiveInt | None = None


@validated(frozen=True)
class Serving:
    name: str
    batch: Annotated[int, Field(ge=1, le=32)] = 4
    seconds: tuple[FiniteFloat, ...] = ()
    cache: bool = False
    kind: Literal["cpu", "gpu"] = "cpu"
    folder: Path | None = None
    queue: Queue | None = None
    resources: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plain:
    steps: int = 10
    rate: float = 1e-3


def written(folder: Path, text: str) -> Path:
    path = folder / "options.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_values_tables_and_lists(tmp_path):
    text = 'name = "a"\nseconds = [5, 2.5]\nfolder = "x"\n[queue]\nsize = 3\n[resources]\ngpu = 1\n'
    expected = Serving(
        "a", seconds=(5.0, 2.5), folder=Path("x"), queue=Queue(3), resources={"gpu": 1}
    )
    assert with_config(Serving, written(tmp_path, text), {}) == expected


def test_flags_override_single_values(tmp_path):
    path = written(tmp_path, 'name = "a"\nbatch = 8\ncache = true\n')
    flags = {"batch": 2, "cache": None, "folder": Path("y"), "seconds": (1.5,)}
    expected = Serving("a", 2, (1.5,), cache=True, folder=Path("y"))
    assert with_config(Serving, path, flags) == expected


def test_flags_alone_are_enough():
    assert with_config(Plain, None, {"steps": 3, "rate": None}) == Plain(3)


@pytest.mark.parametrize(
    "text, words",
    [
        ("name = 3", ["name", "string", "3"]),
        ('name = "a"\nbatch = "8"', ["batch", "integer", "'8'"]),
        ('name = "a"\nbatch = 8.0', ["batch", "integer"]),
        ('name = "a"\nbatch = 33', ["batch", "less than or equal to 32", "33"]),
        ('name = "a"\nkind = "tpu"', ["kind", "'cpu' or 'gpu'", "'tpu'"]),
        ('name = "a"\ncache = 1', ["cache", "boolean"]),
        ('name = "a"\nqueue = 3', ["queue"]),
        ('name = "a"\nqueue.size = 0', ["queue.size", "greater than 0"]),
        ('name = "a"\nqueue.siez = 1', ["queue", "'siez'", "size, timeout_us"]),
        ('nmae = "a"', ["'nmae'", "name, batch, seconds"]),
        ("batch = 8", ["name", "required"]),
        ('name = "a"\nname = "b"', ["not TOML"]),
        ("name = ?", ["not TOML", "line 1"]),
        ("name = " + "[" * 5_000, ["not TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        with_config(Serving, path, {})
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert all(word in message for word in words), message


def test_a_wrong_flag_is_not_blamed_on_the_file(tmp_path):
    path = written(tmp_path, 'name = "a"\n')
    with pytest.raises(UsageError, match=r"^batch: .*32 \(found 99\)"):
        with_config(Serving, path, {"batch": 99})


def test_a_plain_dataclass_is_checked_too(tmp_path):
    assert with_config(Plain, written(tmp_path, "rate = 1"), {}) == Plain(rate=1.0)
    with pytest.raises(UsageError, match=r"steps: .*integer"):
        with_config(Plain, written(tmp_path, 'steps = "x"'), {})
    with pytest.raises(UsageError, match="unknown key 'step'; allowed: steps, rate"):
        with_config(Plain, written(tmp_path, "step = 1"), {})


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: .*No such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: not TOML"):
        read_toml(tmp_path / "bytes.toml")
    with pytest.raises(UsageError, match="cannot read"):
        read_toml(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(1, 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Serving,
        name=texts,
        batch=st.integers(1, 32),
        seconds=st.lists(floats).map(tuple),
        cache=st.booleans(),
        kind=st.sampled_from(["cpu", "gpu"]),
        folder=st.none() | st.sampled_from([Path("a"), Path("/b c/ü")]),
        queue=st.none() | st.builds(Queue, size=counts, timeout_us=st.none() | counts),
        resources=st.dictionaries(texts, st.integers(-(2**63), 2**63 - 1), max_size=3),
    )
)
def test_what_was_written_is_read_again(tmp_path_factory, options):
    path = tmp_path_factory.mktemp("config") / "effective.toml"
    save_config(options, path)
    assert with_config(Serving, path, {}) == options
    assert [each.name for each in path.parent.iterdir()] == [path.name]
