"""A saved ML program, read from its ``.mlpackage`` and interpreted operation by operation."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....common.environment import import_extra
from ....errors import SessionError
from .operations import OPERATIONS

_EXTRA, _WEIGHTS = "coreml", "Data/com.apple.CoreML/weights"


@dataclass(frozen=True)
class Result:
    """What an operation gives, as the program declares it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """An operation.

    Attributes:
        kind: its name in MIL.
        inputs: names of values, by parameter; several where the parameter takes a list.
        outputs: the results, as they are declared.
        last: the values that no later operation reads.
    """

    kind: str
    inputs: Mapping[str, str | Sequence[str]]
    outputs: Sequence[Result]
    last: list[str] = field(default_factory=list)


def coremltools() -> Any:
    """Import coremltools without its warnings that this is no Mac and that PyTorch is new.

    Raises:
        MissingDependencyError: it is not installed.
    """
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return import_extra(_EXTRA, "coremltools")


class SavedProgram:
    """The function ``main`` of an ML program, interpreted.

    Every operation is computed in float32, and its result rounded to the type that the program
    declares for it: what a device does within an operation is its own affair.

    Args:
        package: the ``.mlpackage`` folder.

    Attributes:
        steps: its operations, in order, without constants.
        inputs, outputs: the names of what it takes and gives.

    Raises:
        SessionError: not such a program, or one with operations that are not known here.
        MissingDependencyError: coremltools is not installed.
    """

    def __init__(self, package: Path) -> None:
        coremltools()
        reader = import_extra(_EXTRA, "coremltools.converters.mil.frontend.milproto.load")
        models = import_extra(_EXTRA, "coremltools.models.utils")
        self._package = package
        try:
            function = models.load_spec(str(package)).mlProgram.functions["main"]
            block = function.block_specializations[function.opset]
            context = reader.TranscriptionContext(str(package / _WEIGHTS))
            self._constants: dict[str, Any] = {}
            self.steps: list[Step] = []
            for operation in block.operations:
                self._read(operation, reader, context)
        except Exception as error:  # whatever protobuf and coremltools make of another file
            raise SessionError(f"{package}: not an ML program ({error}).") from error
        if unknown := {each.kind for each in self.steps} - OPERATIONS.keys():
            raise SessionError(
                f"{package}: cannot be interpreted: {', '.join(sorted(unknown))} is not known."
            )
        self.inputs = [each.name for each in function.inputs]
        self.outputs = list(block.outputs)
        seen = {*self.outputs}
        for step in reversed(self.steps):
            step.last.extend({*_names(step)} - seen)
            seen |= {*step.last}

    def _read(self, operation: Any, reader: Any, context: Any) -> None:
        if operation.type == "const":
            (output,) = operation.outputs
            self._constants[output.name] = reader._load_value(context, operation.attributes["val"])
            return
        inputs: dict[str, str | Sequence[str]] = {}
        for parameter, argument in operation.inputs.items():
            names = []
            for index, binding in enumerate(argument.arguments):
                name = binding.name
                if binding.WhichOneof("binding") == "value":
                    name = f"{operation.outputs[0].name}/{parameter}/{index}"
                    self._constants[name] = reader._load_value(context, binding.value)
                names.append(name)
            inputs[parameter] = names if parameter == "values" else names[0]
        results = [_result(each, reader) for each in operation.outputs]
        self.steps.append(Step(operation.type, inputs, results))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The program's outputs by their names, for arrays of the types and shapes it declares.

        Raises:
            SessionError: an operation's result is not what the program declares.
        """
        values = {**self._constants, **{name: inputs[name] for name in self.inputs}}
        with np.errstate(all="ignore"):  # float16 overflows, and the gate says so
            for step in self.steps:
                for declared, result in zip(step.outputs, self._results(step, values), strict=True):
                    if result.shape != declared.shape:
                        raise SessionError(
                            f"{self._package}: {step.kind} {declared.name} has shape "
                            f"{result.shape}, declared is {declared.shape}."
                        )
                    values[declared.name] = result.astype(declared.dtype)
                for name in step.last:
                    del values[name]
        return {name: values[name] for name in self.outputs}

    def _results(self, step: Step, values: Mapping[str, Any]) -> Sequence[np.ndarray]:
        try:
            arguments = {
                parameter: _wide(values[names])
                if isinstance(names, str)
                else [_wide(values[name]) for name in names]
                for parameter, names in step.inputs.items()
            }
            found = OPERATIONS[step.kind](**arguments)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise SessionError(
                f"{self._package}: {step.kind} {step.outputs[0].name} cannot be interpreted "
                f"({error})."
            ) from error
        return found if isinstance(found, list) else [found]


def _names(step: Step) -> list[str]:
    """The values that it reads."""
    found: list[str] = []
    for names in step.inputs.values():
        found += [names] if isinstance(names, str) else names
    return found


def _wide(value: Any) -> Any:
    """float16 as float32, anything else as it is."""
    is_half = getattr(value, "dtype", None) == np.float16
    return value.astype(np.float32) if is_half else value


def _result(spec: Any, reader: Any) -> Result:
    kind = reader.proto_to_types(spec.type)
    dtype = np.dtype(reader.types.nptype_from_builtin(kind.get_primitive()))
    return Result(spec.name, dtype, tuple(kind.get_shape()))
