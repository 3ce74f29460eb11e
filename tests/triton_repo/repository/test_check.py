"""A repository is held against its bundle: whatever was changed, added or lost is named."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from muqrt.cli.serve import commands
from muqrt.errors import UsageError
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.triton_repo.contract.options import PROFILES, ServingOptions
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.repository import machine as machine_module
from muqrt.triton_repo.repository.check import check_repository
from muqrt.triton_repo.repository.machine import Machine, this_machine
from muqrt.triton_repo.repository.write import write_repository, write_stream_repository

NOTHING = Machine()
RIGHT = Machine("10.13", ("9.0", "8.6"))


def problems(models: Path, bundle: Bundle, machine: Machine = NOTHING) -> list[str]:
    (found,) = check_repository(models, bundle, machine)
    assert found.ok == (not found.problems)
    return found.problems


@pytest.fixture
def models(bundle: Bundle, tmp_path: Path) -> Path:
    """A repository of the tiny bundle with files of its own, which a test may spoil."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
        write_repository(bundle, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def streams(tagged_copy: Path, tmp_path: Path) -> tuple[Path, Bundle]:
    """A repository with the model for streams alone, and its bundle."""
    bundle = load_bundle(tagged_copy)
    write_stream_repository(bundle, tmp_path / "models", options=StreamOptions(hop_seconds=1))
    return tmp_path / "models", bundle


@pytest.mark.parametrize("profile", PROFILES)
def test_what_was_written_passes(bundle: Bundle, tmp_path: Path, profile: str) -> None:
    write_repository(bundle, tmp_path, options=PROFILES[profile])
    chosen = ServingOptions(outputs=("embedding",), lengths_seconds=(1, 2), version=3, threads=1)
    write_repository(bundle, tmp_path, model_name="other", options=chosen)
    fixed = ServingOptions(lengths_seconds=(2,), fixed_length=True)
    write_repository(bundle, tmp_path, model_name="zz_fixed", options=fixed)
    one, other, last = check_repository(tmp_path, bundle, NOTHING)
    assert (last.model, last.problems, last.notes) == ("zz_fixed", [], [])
    assert (one.model, one.artefact, one.files, one.problems) == ("muq", "onnx-fp32", 2, [])
    assert (other.model, other.artefact, other.files, other.problems) == (
        "other",
        "onnx-fp32",
        2,
        [],
    )


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def replace_in_config(old: str, new: str) -> Callable[[Path], None]:
    def edit(models: Path) -> None:
        path = models / "muq" / "config.pbtxt"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda m: change(m / "muq/1/model.onnx"), r"1/model\.onnx has changed"),
        (lambda m: change(m / "muq/1/muq.onnx.data"), r"1/muq\.onnx\.data has changed"),
        (lambda m: (m / "muq/1/muq.onnx.data").unlink(), r"1/muq\.onnx\.data is missing"),
        (lambda m: (m / "muq/1/more.onnx").write_text(""), r"1/more\.onnx is not in the bundle"),
        (lambda m: (m / "muq/model.py").write_text(""), r"model\.py is not in the bundle"),
        (lambda m: (m / "muq/1").rename(m / "muq/2"), r"1/model\.onnx is missing"),
        (lambda m: (m / "muq").rename(m / "muc"), "name is not what the bundle says"),
        (lambda m: (m / "muq").rename(m / ".muq-1a2b3c4d-old"), "name is not what"),
        (lambda m: (m / "muq/config.pbtxt").unlink(), r"no config\.pbtxt"),
        (lambda m: (m / "muq/config.pbtxt").write_text("?"), r"config\.pbtxt: .*Expected"),
        (lambda m: (m / "muq/config.pbtxt").write_text('name: "muq"'), "muqrt did not write it"),
        (replace_in_config("dims: 4", "dims: 5"), "output is not what the bundle says"),
        (replace_in_config('"onnxruntime"', '"python"'), "backend is not what the bundle says"),
        (replace_in_config("960", "480"), r"muqrt\.framing is not what the bundle says"),
        (replace_in_config('"muqrt.level"', '"muqrt.depth"'), r"muqrt\.level is not what"),
        (replace_in_config('"embedding"', '"tags"'), "no output tags"),
    ],
)
def test_what_was_changed_is_named(
    models: Path, bundle: Bundle, spoil: Callable[[Path], object], why: str
) -> None:
    assert not problems(models, bundle)
    spoil(models)
    found = problems(models, bundle)
    assert any(re.search(why, each) for each in found), found


SCRIPTED = ("muq", "muq_stream", "mulan_text", "zeroshot")


def test_models_of_the_previous_version_are_ok(previous: Path) -> None:
    for folder in ("tagged", "mulan"):
        bundle = load_bundle(previous / folder)
        for found in check_repository(previous / "models", bundle, NOTHING):
            if found.artefact is None:
                assert "check it against the bundle it is from" in found.problems[0]
                continue
            assert found.ok
            assert "earlier version" in found.notes[0] or found.model not in SCRIPTED
            assert "muqrt.limits" in found.notes[-1] or found.model == "muq_stream"
            for note in found.notes:
                assert f"with: muqrt repository {bundle.folder} --output" in note


def test_a_model_of_the_previous_version_is_updated(previous: Path, tmp_path: Path) -> None:
    models = shutil.copytree(previous / "models", tmp_path / "models")
    for name in models.iterdir():
        if name.name != "muq_stream":
            shutil.rmtree(name)
    bundle = load_bundle(previous / "tagged")
    change(models / "muq_stream/1/model.py")
    assert "model.py has changed" in problems(models, bundle)[0]
    write_stream_repository(bundle, models)
    (found,) = check_repository(models, bundle, NOTHING)
    assert found.ok and not found.notes


def test_batching_is_the_operators_to_choose(models: Path, bundle: Bundle) -> None:
    replace_in_config("microseconds: 2000", "microseconds: 8000")(models)
    assert not problems(models, bundle)


def test_a_folder_that_is_no_model_stops_a_server(models: Path, bundle: Bundle) -> None:
    (models / ".trash").mkdir()
    hidden, muq = check_repository(models, bundle, NOTHING)
    assert (hidden.model, muq.ok) == (".trash", True)
    assert "no config.pbtxt" in hidden.problems[0]


def test_another_bundle_and_one_without_certificate_are_refused(
    models: Path, fresh_bundle: Callable[..., Bundle]
) -> None:
    uncertified = fresh_bundle("uncertified", certified=False)
    (found,) = problems(models, uncertified)
    assert "'onnx-fp32' has no passing parity certificate" in found
    (forced,) = check_repository(models, uncertified, NOTHING, allow_uncertified=True)
    assert forced.ok
    another = fresh_bundle("another")
    another.artefacts[0].level = 2
    (found,) = problems(models, another)
    assert "its artefact is not in this bundle" in found


def test_no_models_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no models there"):
        check_repository(tmp_path, bundle, NOTHING)


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (RIGHT, []),
        (Machine("10.13.3.9", ("9.0",)), []),
        (Machine("10.13.3.9.post1", ("9.0",)), []),
        (Machine("10.12", ("9.0",)), ["the plan is for TensorRT 10.13.3.9 and the server has 10"]),
        (Machine("10.13.2.6", ("9.0",)), ["has 10.13.2.6; build"]),
        (Machine("10.1", ("9.0",)), ["the server has 10.1;"]),
        (Machine("10.13", ("9.0", "12.0")), ["compute capability 12.0, only for 8.6, 9.0"]),
        (NOTHING, ["TensorRT version is unknown", "GPUs are unknown"]),
    ],
)
def test_plans_for_another_tensorrt_or_gpu_are_refused(
    plan_bundle: Bundle, tmp_path: Path, machine: Machine, why: list[str]
) -> None:
    write_repository(plan_bundle, tmp_path / "models", "plan-9.0")
    found = problems(tmp_path / "models", plan_bundle, machine)
    assert len(found) == len(why)
    for problem, words in zip(found, why, strict=True):
        assert words in problem


def test_swapped_plans_are_seen(plan_bundle: Bundle, tmp_path: Path) -> None:
    write_repository(plan_bundle, tmp_path / "models", "plan-9.0")
    version = tmp_path / "models" / "muq" / "1"
    (version / "model-8.6.plan").replace(version / "model-9.0.plan")
    missing, changed = problems(tmp_path / "models", plan_bundle, RIGHT)
    assert "1/model-8.6.plan is missing" in missing
    assert "1/model-9.0.plan has changed" in changed


def test_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\n[ \"$1\" = --query-gpu=compute_cap ] && printf '9.0\\n8.6\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine_module, "version", lambda name: "10.13.3.9")
    assert this_machine() == Machine("10.13.3.9", ("9.0", "8.6"))
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert this_machine().compute_capabilities == ()


def test_the_model_for_streams_is_checked_too(streams: tuple[Path, Bundle]) -> None:
    models, bundle = streams
    (found,) = check_repository(models, bundle, NOTHING)
    assert (found.model, found.artefact, found.problems) == ("muq_stream", "onnx-fp32", [])
    assert found.files == len(bundle.artefacts[0].files) + 1
    # What a server leaves behind.
    cache = models / "muq_stream" / "1" / "__pycache__"
    cache.mkdir()
    (cache / "model.cpython-311.pyc").write_bytes(b"")
    assert not problems(models, bundle)
    (cache / "muqrt.cpython-311.pyc").write_bytes(b"")
    (found,) = check_repository(models, bundle, NOTHING)
    assert "muqrt.cpython-311.pyc is not in the bundle" in found.problems[0]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda v: change(v / "model.py"), r"1/model\.py has changed"),
        (lambda v: (v / "muq-encoder.onnx").unlink(), r"1/muq-encoder\.onnx is missing"),
        (lambda v: (v / "bundle.json").unlink(), r"no bundle\.json"),
        (
            lambda v: (v / "bundle.json").write_text(
                (v / "bundle.json").read_text().replace('"hop_samples": 240', '"hop_samples": 120')
            ),
            r"1/bundle\.json is not from the artefact",
        ),
        (
            lambda v: (v.parent / "config.pbtxt").write_text(
                (v.parent / "config.pbtxt").read_text().replace("muqrt.options", "muqrt.opinions")
            ),
            r"config\.pbtxt cannot be read",
        ),
        (
            lambda v: (v.parent / "config.pbtxt").write_text(
                (v.parent / "config.pbtxt").read_text().replace("thresholds", "limits")
            ),
            r"config\.pbtxt cannot be read",
        ),
    ],
)
def test_what_was_changed_of_streams_is_named(
    streams: tuple[Path, Bundle], spoil: Callable[[Path], object], why: str
) -> None:
    models, bundle = streams
    spoil(models / "muq_stream" / "1")
    found = problems(models, bundle)
    assert any(re.search(why, each) for each in found), found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["repository", *(str(each) for each in arguments)])


def test_the_command_exits_with_1_and_says_why(models: Path, bundle: Bundle) -> None:
    good = run(bundle.folder, "--check", models)
    assert (good.exit_code, "ok" in good.stdout) == (0, True)
    change(models / "muq" / "1" / "model.onnx")
    bad = run(bundle.folder, "--check", models)
    assert bad.exit_code == 1
    assert "muq: 1/model.onnx has changed" in bad.stdout
    facts = json.loads(run(bundle.folder, "--check", models, "--json").stdout)
    assert not facts["ok"]
    assert facts["models"][0]["problems"][0].startswith("1/model.onnx has changed")


def test_the_command_is_told_of_the_server(plan_bundle: Bundle, tmp_path: Path) -> None:
    write_repository(plan_bundle, tmp_path / "models", "plan-9.0")
    check = (plan_bundle.folder, "--check", tmp_path / "models")
    right = ("--tensorrt", "10.13", "--compute-capability", "9.0", "--compute-capability", "8.6")
    assert run(*check, *right).exit_code == 0
    wrong = run(*check, "--tensorrt", "10.13", "--compute-capability", "7.5")
    assert wrong.exit_code == 1
    assert "no plan for a GPU of compute capability 7.5" in wrong.stdout


def test_a_plan_that_goes_with_more_is_refused_less(plan_bundle: Bundle, tmp_path: Path) -> None:
    (artefact,) = (each for each in plan_bundle.artefacts if each.name == "plan-8.6")
    assert artefact.plan is not None
    options = EngineOptions(
        profiles=(Profile(window_seconds=(0.1, 2.0, 2.0), batch=(1, 4, 4)),),
        fused_kernels=False,
        hardware_compatibility="ampere_plus",
        version_compatible=True,
    )
    artefact.plan = artefact.plan.model_copy(update={"options": options})
    bundle = plan_bundle.model_copy(update={"artefacts": [artefact]})
    serving = ServingOptions(max_batch_size=4)
    write_repository(
        bundle, tmp_path / "models", artefact.name, allow_uncertified=True, options=serving
    )
    for machine in (Machine("10.13.3.9", ("8.6", "8.9", "12.0")), Machine("10.14", ("9.0",))):
        (found,) = check_repository(tmp_path / "models", bundle, machine, allow_uncertified=True)
        assert found.problems == []
    for machine in (Machine("10.13.3.9", ("7.5",)), Machine("10.12.0.36", ("8.6",))):
        (found,) = check_repository(tmp_path / "models", bundle, machine, allow_uncertified=True)
        assert len(found.problems) == 1


@pytest.mark.parametrize(
    "options", [ServingOptions(max_batch_size=8), ServingOptions(lengths_seconds=(3.0,))]
)
def test_what_a_plan_does_not_take_is_not_written(
    plan_bundle: Bundle, tmp_path: Path, options: ServingOptions
) -> None:
    (artefact,) = (each for each in plan_bundle.artefacts if each.name == "plan-9.0")
    assert artefact.plan is not None
    profile = Profile(window_seconds=(0.1, 2.0, 2.0), batch=(1, 4, 4))
    artefact.plan = artefact.plan.model_copy(update={"options": EngineOptions(profiles=(profile,))})
    bundle = plan_bundle.model_copy(update={"artefacts": [artefact]})
    with pytest.raises(UsageError, match="choose --max-batch-size and --length-seconds"):
        write_repository(
            bundle, tmp_path / "models", artefact.name, allow_uncertified=True, options=options
        )
