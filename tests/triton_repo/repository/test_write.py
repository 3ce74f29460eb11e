"""Writing the model repository: complete, or refused with the old one left as it was."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError, ServerError, UsageError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.triton_repo.contract.artefact import Contract
from muqrt.triton_repo.contract.config import parameters_of, parse_config
from muqrt.triton_repo.contract.options import ServingOptions
from muqrt.triton_repo.repository import write as repository
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

FILES = ["muq/1/model.onnx", "muq/1/muq.onnx.data", "muq/config.pbtxt"]


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_repository_has_the_bundles_bytes(bundle: Bundle, tmp_path: Path) -> None:
    report = write_repository(bundle, tmp_path / "models")
    written = contents(tmp_path / "models")
    assert sorted(written) == report.files == FILES
    artefact = bundle.artefacts[0]
    assert written["muq/1/model.onnx"] == artefact.files["muq.onnx"]
    assert written["muq/1/muq.onnx.data"] == artefact.files["muq.onnx.data"]
    assert report.certified


def test_files_are_copied_where_they_cannot_be_linked(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    write_repository(bundle, tmp_path / "models")
    written = contents(tmp_path / "models")["muq/1/model.onnx"]
    assert written == bundle.artefacts[0].files["muq.onnx"]


def test_the_graph_finds_its_external_data(
    bundle: Bundle, tmp_path: Path, waveform: Callable[..., np.ndarray]
) -> None:
    write_repository(bundle, tmp_path)
    session = ort.InferenceSession(tmp_path / FILES[0], providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"waveform": waveform(9_600)})
    assert features.shape == (1, 10, 4)


def test_external_data_keeps_its_folder(fresh_bundle: Callable[..., Bundle]) -> None:
    bundle = fresh_bundle()
    artefact = bundle.artefacts[0]
    (bundle.folder / "onnx").mkdir()
    for name in artefact.files:
        shutil.move(bundle.folder / name, bundle.folder / "onnx" / name)
    artefact.files = {f"onnx/{name}": digest for name, digest in artefact.files.items()}
    artefact.file = "onnx/muq.onnx"
    output = bundle.folder.parent / "models"
    report = write_repository(bundle, output, allow_uncertified=True)
    assert report.files == FILES
    assert not report.certified


def test_parts_are_not_served(fresh_bundle: Callable[..., Bundle]) -> None:
    bundle = fresh_bundle()
    for name in ("muq-front-end.onnx", "muq-encoder.onnx", "muq-levels.onnx"):
        (bundle.folder / name).write_bytes(b"a part")
        bundle.artefacts[0].files[name] = sha256(bundle.folder / name)
    report = write_repository(bundle, bundle.folder.parent / "models", allow_uncertified=True)
    assert report.files == FILES


def test_data_that_is_not_beside_the_graph_is_refused(fresh_bundle: Callable[..., Bundle]) -> None:
    bundle = fresh_bundle()
    artefact = bundle.artefacts[0]
    (bundle.folder / "onnx").mkdir()
    shutil.move(bundle.folder / "muq.onnx", bundle.folder / "onnx" / "muq.onnx")
    artefact.files["onnx/muq.onnx"] = artefact.files.pop("muq.onnx")
    artefact.file = "onnx/muq.onnx"
    with pytest.raises(BundleError, match=r"muq\.onnx\.data is not beside"):
        write_repository(bundle, bundle.folder.parent / "models", allow_uncertified=True)


def test_an_engine_without_a_backend_is_served_from_python(
    fresh_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = fresh_bundle()
    bundle.artefacts[0].engine = "openvino"
    report = write_repository(bundle, tmp_path / "models", allow_uncertified=True)
    names = ["1/bundle.json", "1/model.py", "1/muq.onnx", "1/muq.onnx.data", "config.pbtxt"]
    assert report.files == [f"muq/{name}" for name in names]
    served = load_bundle(tmp_path / "models" / "muq" / "1")
    assert [each.digest for each in served.artefacts] == [bundle.artefacts[0].digest]
    message = parse_config((tmp_path / "models" / "muq" / "config.pbtxt").read_text())
    assert (message.backend, message.default_model_filename) == ("python", "model.py")


def test_an_uncertified_artefact_is_served_only_when_forced(
    fresh_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = fresh_bundle(certified=False)
    with pytest.raises(BundleError, match="no passing parity certificate"):
        write_repository(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert not write_repository(bundle, tmp_path / "models", allow_uncertified=True).certified


@pytest.mark.parametrize("name", ["muq.onnx", "muq.onnx.data"])
def test_a_changed_byte_is_refused_and_the_old_repository_stays(
    fresh_bundle: Callable[..., Bundle], tmp_path: Path, name: str
) -> None:
    output = tmp_path / "models"
    write_repository(fresh_bundle("first"), output)
    before = contents(output)
    bundle = fresh_bundle("second")
    data = bytearray((bundle.folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.folder / name).write_bytes(data)
    with pytest.raises(BundleError, match="has changed"):
        write_repository(bundle, output)
    assert contents(output) == before


def test_a_failure_half_way_leaves_nothing_behind(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "models"
    write_repository(bundle, output)
    before = contents(output)

    def fail(source: Path, destination: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(repository, "_link_or_copy", fail)
    with pytest.raises(OSError, match="No space left"):
        write_repository(bundle, output, options=ServingOptions(max_batch_size=2))
    assert contents(output) == before


def test_our_own_model_is_replaced_and_its_neighbours_stay(bundle: Bundle, tmp_path: Path) -> None:
    neighbour = tmp_path / "other" / "config.pbtxt"
    neighbour.parent.mkdir()
    neighbour.write_text('name: "other"')
    write_repository(bundle, tmp_path)
    write_repository(bundle, tmp_path, options=ServingOptions(max_batch_size=2))
    assert neighbour.read_text() == 'name: "other"'
    message = parse_config((tmp_path / "muq" / "config.pbtxt").read_text())
    assert message.max_batch_size == 2


@pytest.mark.parametrize("config", [None, "not a config", 'name: "muq" backend: "onnxruntime"'])
def test_somebody_elses_folder_is_left_alone(
    bundle: Bundle, tmp_path: Path, config: str | None
) -> None:
    theirs = tmp_path / "muq"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    if config is not None:
        (theirs / "config.pbtxt").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="muqrt did not write it"):
        write_repository(bundle, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["", "../muq", "a/b", ".hidden", "muq\n"])
def test_a_name_that_is_none_is_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid model name"):
        write_repository(bundle, tmp_path / "models", model_name=name)


def test_the_output_must_not_be_a_file(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_repository(bundle, tmp_path / "models")


@pytest.mark.parametrize(("target", "kind"), [("cpu", "KIND_CPU"), ("any", "KIND_AUTO")])
def test_the_instances_follow_the_target(
    fresh_bundle: Callable[..., Bundle], tmp_path: Path, target: str, kind: str
) -> None:
    bundle = load_bundle(fresh_bundle().folder)
    bundle.artefacts[0].target = target
    write_repository(bundle, tmp_path / "models", allow_uncertified=True)
    message = parse_config((tmp_path / "models" / "muq" / "config.pbtxt").read_text())
    (group,) = message.instance_group
    assert type(group).Kind.Name(group.kind) == kind


def read_config(models: Path) -> Any:
    return parse_config((models / "muq" / "config.pbtxt").read_text())


def test_chosen_outputs_are_served_and_no_others(bundle: Bundle, tmp_path: Path) -> None:
    write_repository(bundle, tmp_path, options=ServingOptions(outputs=("embedding",)))
    message = read_config(tmp_path)
    assert [each.name for each in message.output] == ["embedding"]
    contract = Contract.from_parameters(parameters_of(message))
    assert [spec.name for spec in contract.outputs] == ["embedding"]
    with pytest.raises(UsageError, match="no output tags; artefact 'onnx-fp32' has: features"):
        write_repository(bundle, tmp_path, options=ServingOptions(outputs=("tags", "features")))


def test_a_version_of_another_number(bundle: Bundle, tmp_path: Path) -> None:
    report = write_repository(bundle, tmp_path, options=ServingOptions(version=7))
    assert report.files == [name.replace("/1/", "/7/") for name in FILES]
    assert list(read_config(tmp_path).version_policy.specific.versions) == [7]


def test_plans_of_one_model_are_served_together(plan_bundle: Bundle, tmp_path: Path) -> None:
    report = write_repository(plan_bundle, tmp_path, "plan-9.0")
    assert report.files == [
        "muq/1/model-8.6.plan",
        "muq/1/model-9.0.plan",
        "muq/config.pbtxt",
    ]
    for capability in ("8.6", "9.0"):
        plan = tmp_path / "muq" / "1" / f"model-{capability}.plan"
        assert plan.read_text() == f"a plan for {capability}"
    message = read_config(tmp_path)
    assert message.backend == "tensorrt"
    assert message.default_model_filename == "model-9.0.plan"
    assert message.cc_model_filenames == {
        "8.6": "model-8.6.plan",
        "9.0": "model-9.0.plan",
    }
    (group,) = message.instance_group
    assert type(group).Kind.Name(group.kind) == "KIND_GPU"
    contract = Contract.from_parameters(parameters_of(message))
    assert contract.artefact_sha256 == plan_bundle.artefact("plan-9.0").digest


def test_another_plan_that_changed_or_is_not_certified_stays_away(
    plan_bundle: Bundle, tmp_path: Path
) -> None:
    (plan_bundle.folder / "muq-8.6.plan").write_text("another plan")
    with pytest.raises(BundleError, match=r"muq-8\.6\.plan has changed"):
        write_repository(plan_bundle, tmp_path, "plan-9.0")
    plan_bundle.artefact("plan-8.6").certificate = None
    report = write_repository(plan_bundle, tmp_path, "plan-9.0")
    assert report.files == ["muq/1/model-9.0.plan", "muq/config.pbtxt"]


def test_a_stripped_plan_is_not_for_triton(plan_bundle: Bundle, tmp_path: Path) -> None:
    other = plan_bundle.artefact("plan-8.6")
    assert other.plan is not None
    other.plan.weights = "muq.onnx"
    report = write_repository(plan_bundle, tmp_path, "plan-9.0")
    assert report.files == ["muq/1/model-9.0.plan", "muq/config.pbtxt"]
    with pytest.raises(BundleError, match=r"plan-8\.6: a stripped plan.*without --strip"):
        write_repository(plan_bundle, tmp_path, "plan-8.6", allow_uncertified=True)


@pytest.mark.server
def test_the_server_understands_what_it_has_no_tensorrt_for(
    start_server: Callable[..., Server], plan_bundle: Bundle, tmp_path: Path
) -> None:
    options = ServingOptions(cuda_graphs=True, preferred_batch_sizes=(2,), lengths_seconds=(1, 2))
    write_repository(plan_bundle, tmp_path / "models", "plan-9.0", options=options)
    # The configuration is parsed and validated first; only then the backend is looked for.
    with pytest.raises(ServerError, match=r"find backend library for .*tensorrt"):
        start_server(tmp_path / "models")
