"""Check a model repository against its bundle, before a server loads it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...common.files import sha256
from ...errors import BundleError, MuqrtError, UsageError
from ...runtime.bundle.manifest import MANIFEST, Artefact, Bundle, load_bundle
from ...runtime.bundle.tensorrt_plan import RtxPlan, TensorRTPlan
from ..contract.artefact import Contract
from ..contract.config import LENGTHS, OURS, parameters_of, parse_config
from ..contract.label_sets import FOLDER, SUFFIXES
from ..contract.limits import LIMITS, Limits
from ..contract.mulan import TEXT_TOWER, TextConfig, ZeroShotConfig
from ..contract.options import ServingOptions, with_given
from ..contract.stream import SILENT, StreamConfig, StreamContract, options_of
from ..contract.track import TRACK_MODEL, TrackConfig
from ..serving import EARLIER_SCRIPTS, script_of
from .layout import (
    LIVE_STREAMS,
    SCRIPT_FILENAME,
    ZERO_SHOT,
    Layout,
    config_of,
    joint_layout,
    layout_of,
    scripted,
    stream_contract,
    track_layout,
)
from .machine import Machine
from .mulan import joint_config
from .track import track_config
from .write import CONFIG_FILENAME, VERSION

# The fields that follow from the artefact; the operator chooses the others.
_FIXED = ("name", "backend", "default_model_filename", "cc_model_filenames", "input", "output")
# The parameters that the operator chooses.
_CHOSEN = (LENGTHS, LIMITS)
_ANY_NAME = "muq"
_AGAIN = "write it again with: muqrt repository"


@dataclass(frozen=True)
class ModelCheck:
    """What the check found in one model.

    Attributes:
        model: the model's name.
        artefact: the bundle's artefact that it serves; None if it is from another bundle.
        files: how many files were compared with the bundle's hashes.
        problems: what is wrong, one sentence each.
        notes: what works and should be updated, one sentence each.
    """

    model: str
    artefact: str | None
    files: int
    problems: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether a server may load it."""
        return not self.problems


def check_repository(
    repository: Path, bundle: Bundle, machine: Machine, *, allow_uncertified: bool = False
) -> list[ModelCheck]:
    """Check every model that a server would load from a repository.

    muqrt must have written its configuration for an artefact of the bundle with a passing
    certificate, and its files must be the artefact's, with the manifest's hashes, and no others; a
    ``model.py`` may be an earlier version's.
    Plans must be for the machine's TensorRT and for each of its GPUs. Of the bundle only the
    manifest is read.

    Raises:
        UsageError: the folder has no models.
    """
    # A server takes every folder for a model, even hidden ones.
    folders = sorted(each for each in repository.glob("*") if each.is_dir())
    if not folders:
        raise UsageError(f"{repository}: no models there. Write some with: muqrt repository")
    return [_check_model(each, bundle, machine, allow_uncertified) for each in folders]


def _check_model(
    folder: Path, bundle: Bundle, machine: Machine, allow_uncertified: bool
) -> ModelCheck:
    try:
        message = parse_config((folder / CONFIG_FILENAME).read_text(encoding="utf-8"))
    except OSError:
        return ModelCheck(folder.name, None, 0, [f"no {CONFIG_FILENAME}: a server stops at it"], [])
    except ValueError as error:
        return ModelCheck(folder.name, None, 0, [f"{CONFIG_FILENAME}: {error}"], [])
    digest = parameters_of(message).get(OURS)
    if digest is None:
        return ModelCheck(folder.name, None, 0, ["muqrt did not write it"], [])
    artefact = next((each for each in bundle.artefacts if each.digest == digest), None)
    if artefact is None:
        why = "its artefact is not in this bundle: check it against the bundle it is from, or"
        return ModelCheck(folder.name, None, 0, [f"{why} {_AGAIN}"], [])
    problems: list[str] = []
    notes: list[str] = []
    if not artefact.certified and not allow_uncertified:
        problems.append(f"artefact {artefact.name!r} has no passing parity certificate")
    hashes: Mapping[str, str] = {}
    update = (
        f"update it with: muqrt repository {bundle.folder} --output {folder.parent}, and the "
        "options it was written with"
    )
    try:
        if _is_for_streams(message):
            layout = scripted(artefact, LIVE_STREAMS)
            expected = _stream_config(message, bundle, artefact)
        elif TRACK_MODEL in parameters_of(message):
            layout = track_layout(artefact)
            track = track_config(bundle, artefact, _ANY_NAME, parameters_of(message))
            expected = track.to_protobuf()
            problems += _tower_problems(folder.parent, track)
        elif TEXT_TOWER in parameters_of(message):
            layout = joint_layout(bundle, artefact)
            config = joint_config(bundle, artefact, _ANY_NAME, parameters_of(message))
            expected = config.to_protobuf()
            problems += _tower_problems(folder.parent, config)
        else:
            layout = layout_of(bundle, artefact, tuple(each.name for each in message.output))
            expected = _model_config(message, bundle, artefact)
            problems += _plan_problems(layout, machine)
        if (digest := _earlier_script(folder, message, layout)) is not None:
            layout = replace(layout, hashes={**layout.hashes, SCRIPT_FILENAME: digest})
            notes.append(
                f"its {SCRIPT_FILENAME} is an earlier version's, which still works; {update}"
            )
        hashes = layout.hashes
        parameters = parameters_of(message)
        Limits.from_parameters(parameters)
        if LIMITS in parameters_of(expected) and LIMITS not in parameters:
            notes.append(f"{CONFIG_FILENAME} has no {LIMITS}, so the defaults apply; {update}")
        expected.name = folder.name
        problems += _differences(message, expected)
        problems += _file_problems(folder, message, layout)
    except MuqrtError as error:
        problems.append(str(error))
    return ModelCheck(folder.name, artefact.name, len(hashes), problems, notes)


def _earlier_script(folder: Path, message: Any, layout: Layout) -> str | None:
    """The SHA-256 of the model's script, if an earlier version wrote it."""
    path = folder / _version(folder, message) / SCRIPT_FILENAME
    if layout.script is None or not path.is_file():
        return None
    digest = sha256(path)
    model = EARLIER_SCRIPTS.get(digest)
    return digest if model is not None and script_of(model) == layout.script else None


def _is_for_streams(message: Any) -> bool:
    return "muqrt.sliding" in parameters_of(message)


def _model_config(message: Any, bundle: Bundle, artefact: Artefact) -> Any:
    """The configuration that the bundle gives for the same outputs and lengths."""
    try:
        lengths = [int(each) for each in json.loads(parameters_of(message)[LENGTHS])]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{CONFIG_FILENAME}: {LENGTHS} cannot be read; {_AGAIN}") from error
    options = with_given(
        ServingOptions(),
        {
            "outputs": tuple(each.name for each in message.output),
            "max_batch_size": message.max_batch_size,
            "lengths_seconds": tuple(each / bundle.framing.sample_rate_hz for each in lengths),
            "fixed_length": bool(lengths) and all(size > 0 for size in message.input[0].dims),
        },
    )
    return config_of(bundle, artefact, _ANY_NAME, options).to_protobuf()


def _stream_config(message: Any, bundle: Bundle, artefact: Artefact) -> Any:
    """The configuration that the bundle gives for the same options, hop and window."""
    parameters = parameters_of(message)
    try:
        options, found = options_of(parameters), StreamContract.from_parameters(parameters)
    except (KeyError, ValueError) as error:
        raise BundleError(f"{CONFIG_FILENAME} cannot be read ({error}); {_AGAIN}") from error
    sliding = replace(found.sliding, framing=bundle.framing)
    contract = stream_contract(bundle, artefact, sliding)
    expected = StreamConfig(_ANY_NAME, contract, options).to_protobuf()
    if all(each.name != SILENT for each in message.output):  # as an earlier version wrote it
        del expected.output[-1]
    return expected


def _tower_problems(
    repository: Path, config: TextConfig | TrackConfig | ZeroShotConfig
) -> Iterator[str]:
    """Problems with the towers that a model calls: missing, or changed."""
    for tower in config.towers:
        try:
            text = (repository / tower.model / CONFIG_FILENAME).read_text(encoding="utf-8")
            found = Contract.from_parameters(parameters_of(parse_config(text)))
        except (OSError, KeyError, ValueError):
            found = None
        if found != tower.contract:
            yield f"the model {tower.model} that it calls is missing or has changed; {_AGAIN}"


def _differences(message: Any, expected: Any) -> Iterator[str]:
    for field in _FIXED:
        if getattr(message, field) != getattr(expected, field):
            yield f"{CONFIG_FILENAME}: {field} is not what the bundle says; {_AGAIN}"
    found, wanted = parameters_of(message), parameters_of(expected)
    for name in sorted(found.keys() | wanted.keys()):
        if (
            name.startswith("muqrt.")
            and name not in _CHOSEN
            and found.get(name) != wanted.get(name)
        ):
            yield f"{CONFIG_FILENAME}: {name} is not what the bundle says; {_AGAIN}"


def _plan_problems(layout: Layout, machine: Machine) -> Iterator[str]:
    """Reasons why the machine cannot load the layout's plans."""
    # All plans of a layout are for the same TensorRT.
    plan = layout.artefacts[0].plan
    if isinstance(plan, RtxPlan):
        for capability in machine.compute_capabilities:
            if not plan.runs_on(capability):
                yield f"the engine is not for a GPU of compute capability {capability}"
    if not isinstance(plan, TensorRTPlan):
        return
    if machine.tensorrt is None:
        yield "the server's TensorRT version is unknown; give it with --tensorrt VERSION"
    elif not (machine.has_tensorrt(plan.tensorrt) or plan.runs_with(machine.tensorrt)):
        yield (
            f"the plan is for TensorRT {plan.tensorrt} and the server has {machine.tensorrt}; "
            "build another with that one"
        )
    if not machine.compute_capabilities:
        yield "the server's GPUs are unknown; give them with --compute-capability (9.0)"
    for capability in machine.compute_capabilities:
        if capability not in layout.plans and not plan.runs_on(capability):
            yield (
                f"no plan for a GPU of compute capability {capability}, only for "
                f"{', '.join(layout.plans)}; build one on such a GPU"
            )


def _file_problems(folder: Path, message: Any, layout: Layout) -> Iterator[str]:
    """Files in a model's folder that are missing, changed or unknown."""
    version, artefact = _version(folder, message), layout.artefacts[0]
    expected = {f"{version}/{place}": digest for place, digest in layout.hashes.items()}
    others = {CONFIG_FILENAME}
    if layout.script is not None:
        # A server compiles model.py when it loads it.
        others.update(
            path.relative_to(folder).as_posix()
            for path in (folder / version / "__pycache__").glob("model.*.pyc")
        )
    if layout.script == ZERO_SHOT:
        others.update(
            path.relative_to(folder).as_posix()
            for path in (folder / version / FOLDER).glob("*")
            if path.suffix in SUFFIXES
        )
    if layout.is_bundle:
        others.add(f"{version}/{MANIFEST}")
        if load_bundle(folder / version).artefact(allow_uncertified=True).digest != artefact.digest:
            yield f"{version}/{MANIFEST} is not from the artefact {artefact.name!r}; {_AGAIN}"
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    for place, digest in expected.items():
        if place not in found:
            yield f"{place} is missing; {_AGAIN}"
        elif sha256(found[place]) != digest:
            yield f"{place} has changed: its SHA-256 is not the manifest's; {_AGAIN}"
    for place in sorted(found.keys() - expected.keys() - others):
        yield f"{place} is not in the bundle; remove it"


def _version(folder: Path, message: Any) -> str:
    """The version that the server would load."""
    if chosen := list(message.version_policy.specific.versions):
        return str(chosen[0])
    numbers = [int(each.name) for each in folder.iterdir() if each.name.isdecimal()]
    return str(max(numbers, default=VERSION))
