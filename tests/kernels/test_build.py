import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Not imported here: another test's TRITON_INTERPRET has to be set before.
pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton, which compiles the kernels, is not installed"
)

HERE = Path(__file__).parent
TARGETS = {80, 86, 89, 90, 100, 120}
BUILD = ["-m", "muqrt", "build-kernels"]


def python(arguments: list[Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Another process: kernels that this one imported may be interpreted ones."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def toys(folder: Path, environment: dict[str, str], *cases: str, script: Path | None = None) -> Any:
    answers = folder / "outcomes.json"
    done = python([script or HERE / "toy_kernels.py", answers, *cases], environment)
    assert done.returncode == 0, done.stderr
    return json.loads(answers.read_text())


@pytest.fixture(scope="module")
def outcomes(compiling: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each toy: a dictionary of its figures, or an error's text."""
    return toys(tmp_path_factory.mktemp("toys"), compiling)


def parameters(ptx: str) -> list[str]:
    """Types of the entry's parameters."""
    (entry,) = re.findall(r"\.visible \.entry \w+\((.*?)\)", ptx, re.DOTALL)
    return re.findall(r"\.param \.(\w+)", entry)


@pytest.mark.parametrize("target", ["sm_80", "sm_120"])
def test_a_kernel_takes_its_arguments_and_nothing_else(outcomes: Any, target: str) -> None:
    found = outcomes[target]
    assert parameters(found["ptx"]) == ["u64", "u32", "u64"]
    assert re.search(rf"^\.version 8\.7\n\.target {target}a?$", found["ptx"], re.MULTILINE)
    assert f".entry {found['entry']}(" in found["ptx"]
    assert f".reqntid {32 * found['num_warps']}" in found["ptx"]
    assert 0 < found["registers"] <= 255
    assert found["spill_bytes"] == found["scratch_bytes"] == 0


def test_aligned_arguments_are_read_sixteen_bytes_at_a_time(outcomes: Any) -> None:
    assert "ld.global.v4" in outcomes["sm_80"]["ptx"]


def test_ptx_does_not_name_the_folder_it_was_made_in(outcomes: Any) -> None:
    assert "toy_kernels" not in outcomes["sm_80"]["ptx"]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("old", r"^scale cannot be compiled for sm_75, only for sm_80, "),
        ("spilling", r"^spilling for sm_90 spills \d+ bytes a thread"),
        ("scratching", r"^scratching for sm_90 needs \d+ bytes of scratch memory"),
        ("large", r"^large for sm_86 needs 131072 bytes of shared memory a block, of 101376"),
    ],
)
def test_a_bad_kernel_is_an_error_that_names_it(outcomes: Any, case: str, says: str) -> None:
    assert re.search(says, outcomes[case])


def test_an_interpreted_kernel_is_refused(compiling: dict[str, str], tmp_path: Path) -> None:
    found = toys(tmp_path, compiling | {"TRITON_INTERPRET": "1"}, "sm_80")
    assert "TRITON_INTERPRET" in found["sm_80"]


def test_a_change_in_a_function_that_the_kernel_calls_is_seen(
    outcomes: Any, compiling: dict[str, str], tmp_path: Path
) -> None:
    source = (HERE / "toy_kernels.py").read_text()
    changed = tmp_path / "toy_kernels.py"
    changed.write_text(source.replace("return 2 * x", "return x + 5"))
    found = toys(tmp_path, compiling, "sm_80", script=changed)
    assert found["sm_80"]["ptx"] != outcomes["sm_80"]["ptx"]


def test_a_damaged_cache_is_written_anew(
    outcomes: Any, compiling: dict[str, str], tmp_path: Path
) -> None:
    cached = list(Path(compiling["XDG_CACHE_HOME"]).rglob("scale-sm_120-*.json"))
    assert cached
    for path in cached:
        path.write_text(path.read_text()[:100])
    assert toys(tmp_path, compiling, "sm_120")["sm_120"] == outcomes["sm_120"]
    assert any(json.loads(path.read_text()) == outcomes["sm_120"] for path in cached)


def test_a_cache_that_cannot_be_written_is_done_without(
    outcomes: Any, compiling: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    unwritable = compiling | {"XDG_CACHE_HOME": str(tmp_path / "file")}
    assert toys(tmp_path, unwritable, "sm_80")["sm_80"] == outcomes["sm_80"]


def test_build_writes_every_kernel_and_compiles_it_once(
    compiling: dict[str, str], tmp_path: Path
) -> None:
    first = python([*BUILD, "--target", 90, "-o", tmp_path / "out"], compiling)
    assert first.returncode == 0, first.stderr
    facts = json.loads((tmp_path / "out" / "kernels.json").read_text())
    names = {each["name"] for each in facts}
    assert len(names) == len(facts)
    for dtype in ("fp32", "fp16", "bf16"):
        assert {f"log_mel_{dtype}", f"mel_rvq_{dtype}_i32", f"mel_rvq_{dtype}_i16"} <= names
    for each in facts:
        ptx = (tmp_path / "out" / each["file"]).read_text()
        assert f".entry {each['entry']}(" in ptx
        assert f"{each['name']} " in first.stdout
    # Triton's own cache is empty and its assembler is gone: what is printed comes from our cache.
    again = compiling | {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_PTXAS_PATH": "/nowhere"}
    second = python([*BUILD, "--target", 90, "--json"], again)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == {"kernels": facts}


@pytest.mark.full
@pytest.mark.slow
def test_every_kernel_compiles_for_every_gpu(compiling: dict[str, str]) -> None:
    done = python([*BUILD, "--json"], compiling)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["kernels"]
    assert {each["capability"] for each in facts} == TARGETS
    assert len(facts) == len(TARGETS) * len({each["name"] for each in facts})
    # What TensorRT gives a plugin without asking the driver for more.
    assert max(each["shared_bytes"] for each in facts) <= 48 * 1024


@pytest.mark.parametrize(
    ("environment", "arguments", "says"),
    [({"TRITON_INTERPRET": "1"}, [], "TRITON_INTERPRET"), ({}, ["--target", "75"], "sm_75")],
)
def test_a_user_error_is_one_line(
    compiling: dict[str, str], environment: dict[str, str], arguments: list[str], says: str
) -> None:
    done = python([*BUILD, *arguments], compiling | environment)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("muqrt: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


def test_without_triton_it_says_what_to_install(compiling: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("raise ModuleNotFoundError('no triton', name='triton')")
    done = python(BUILD, compiling | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 3
    assert done.stderr.startswith("muqrt: ") and done.stderr.count("\n") == 1
    assert "pip install 'muqrt[gpu]'" in done.stderr
