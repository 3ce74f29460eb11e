"""ONNX Runtime on the CPU, behind Triton's Python backend.

Installed as ``backends/onnxruntime/model.py``, this file alone serves every model whose
configuration says ``backend: "onnxruntime"``, on a server that lacks NVIDIA's C++ backend of that
name. It runs in the server's own Python process and imports nothing of muqrt.
"""

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

# File name of the graph from waveform to tokens alone, beside a model that has one.
_TOKENS_FILE = "tokens.onnx"
# Without limits in its configuration, as older repositories are, a model takes so many windows.
_MOST_WINDOWS = 4
# Above any music: those who send 16-bit samples as floats forgot to divide by 32768.
_LARGEST_SAMPLE = 4.0
# Texts' tokens in one run, padding included.
_TOKENS_TOGETHER = 2_048
# Gives the arena's memory back after the run. After each run, the next would take a quarter longer.
_SHRINKING = onnxruntime.RunOptions()
_SHRINKING.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

# A request's place in the batch, the request, and its inputs.
_Member = tuple[int, Any, list[np.ndarray]]


class _RefusedError(Exception):
    """A request's input is wrong; the message is sent to the client."""


class Shared:
    """An array that Triton can take over, for any numpy that Triton was built for.

    A ``pb_utils.Tensor`` made from a numpy 2 array by a stub built for numpy 1 is silently
    empty. DLPack does not depend on numpy's version.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, stream: Any = None) -> Any:
        capsule = self._array.__dlpack__()
        # Triton frees what it took over, but renames the capsule, and numpy's destructor would
        # write an error about the unknown name to the log.
        ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
        return capsule


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``<model_repository>/<version>/<default_model_filename>``."""
        config = json.loads(args["model_config"])
        parameters = self._configure(config)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # It would keep 25 KB for each length of a waveform that ever came, and gains nothing.
        options.enable_mem_pattern = False
        # Threads that keep spinning after a run take cores from the server's own threads, and a
        # request that arrives before the server sees the instance idle may wait half a second.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # As in the C++ backend: absent or 0 leaves the choice to ONNX Runtime.
        options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
        version = Path(args["model_repository"]) / args["model_version"]
        path = version / (config.get("default_model_filename") or "model.onnx")
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        self._tokens_session = self._session
        if (version / _TOKENS_FILE).is_file():
            self._tokens_session = onnxruntime.InferenceSession(
                version / _TOKENS_FILE, options, providers=providers
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; requests of equal shape share one run of the model."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[_Member]] = {}
        for index, request in enumerate(requests):
            try:
                inputs = self._read(request)
            except _RefusedError as refusal:
                responses[index] = _failure(str(refusal), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self._is_cached and request.is_cancelled():
                responses[index] = _failure("cancelled", pb_utils.TritonError.CANCELLED)
                continue
            shapes = tuple(array.shape[1:] for array in inputs)
            groups.setdefault(shapes, []).append((index, request, inputs))
        for members in groups.values():
            for (index, _, _), response in zip(members, self._answer(members), strict=True):
                responses[index] = response
        return responses

    def finalize(self) -> None:
        """Free the model."""
        del self._session, self._tokens_session

    def _configure(self, config: dict[str, Any]) -> dict[str, str]:
        """Read how requests look from the configuration; returns its parameters."""
        parameters = {
            name: value["string_value"] for name, value in config.get("parameters", {}).items()
        }
        framing = json.loads(parameters.get("muqrt.framing", "{}"))
        limits = json.loads(parameters.get("muqrt.limits", "{}"))
        joint = json.loads(parameters.get("muqrt.joint", "{}"))
        window = framing.get("window_samples", 0)
        self._minimum_samples = framing.get("minimum_samples", 0)
        self._rate_hz = framing.get("sample_rate_hz", 1)
        self._usual_samples = max(json.loads(parameters.get("muqrt.lengths", "[]")) or [window])
        self._most_samples = max(_MOST_WINDOWS * window, self._usual_samples)
        if "max_seconds" in limits:
            self._most_samples = round(limits["max_seconds"] * self._rate_hz)
        # As many as a full batch of usual waveforms has.
        batch = config.get("max_batch_size", 1)
        self._samples_together = max(self._most_samples, batch * self._usual_samples)
        self._most_tokens = limits.get("max_tokens", joint.get("max_tokens", 0))
        self._vocabulary = joint.get("vocabulary", 0)
        self._inputs = [each["name"] for each in config["input"]]
        # Triton's response cache keeps an error as an empty answer, and returns it for the next
        # request with the same inputs. So cancelled requests are answered all the same.
        self._is_cached = config.get("response_cache", {}).get("enable", False)
        return parameters

    def _run(self, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self._tokens_session if names == ["tokens"] else self._session
        is_outlier = "waveform" in feed and feed["waveform"].shape[1] > self._usual_samples
        options = _SHRINKING if is_outlier else None
        return dict(zip(names, session.run(names, feed, options), strict=True))

    def _run_in_parts(self, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run as many rows together as memory is meant for."""
        rows, size = len(feed[self._inputs[0]]), None
        for name, most in (("waveform", self._samples_together), ("ids", _TOKENS_TOGETHER)):
            if name in feed and most:
                size = max(1, most // feed[name].shape[1])
        if size is None or size >= rows:
            return self._run(names, feed)
        parts = [
            self._run(names, {name: array[first : first + size] for name, array in feed.items()})
            for first in range(0, rows, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _read(self, request: Any) -> list[np.ndarray]:
        """The request's inputs, in the configuration's order."""
        found = {
            name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            for name in self._inputs
        }
        for name, array in found.items():
            if name == "waveform":
                self._check_waveform(array)
            elif name == "ids":
                self._check_tokens(array)
            elif array.dtype.kind == "f" and not np.isfinite(array).all():
                raise _RefusedError(f"{name} has values that are not finite (NaN or infinity).")
        if "ids" in found and not found["mask"].any(axis=1).all():
            if found["ids"].any() or found["mask"].any():
                raise _RefusedError("a text is nothing but padding: its mask is 0 everywhere.")
            # Triton's warm-up, which can send zeros only.
            found["mask"] = np.ones_like(found["mask"])
        return list(found.values())

    def _check_waveform(self, array: np.ndarray) -> None:
        samples = array.shape[1]
        if samples < self._minimum_samples:
            raise _RefusedError(
                f"waveform has {samples} samples; the model needs at least "
                f"{self._minimum_samples}. Pad it with zeros."
            )
        if 0 < self._most_samples < samples:
            raise _RefusedError(
                f"waveform has {samples / self._rate_hz:g} s; this model takes at most "
                f"{self._most_samples / self._rate_hz:g} s. Send it in windows, or write the model "
                "with a larger muqrt repository --max-seconds."
            )
        # Two passes without a copy; a NaN is the largest and the smallest.
        peak = max(abs(float(array.max())), abs(float(array.min()))) if array.size else 0.0
        if not np.isfinite(peak):
            raise _RefusedError("waveform has values that are not finite (NaN or infinity).")
        if peak > _LARGEST_SAMPLE:
            raise _RefusedError(
                f"waveform has a sample of {peak:g}; they are from -1 to 1, and at most "
                f"{_LARGEST_SAMPLE:g}. Divide 16-bit samples by 32768."
            )

    def _check_tokens(self, ids: np.ndarray) -> None:
        tokens = ids.shape[1]
        if not tokens or 0 < self._most_tokens < tokens:
            raise _RefusedError(
                f"a text of {tokens} tokens; this model takes 1 to {self._most_tokens} "
                "(limits.max_tokens of muqrt repository). Cut it first."
            )
        if self._vocabulary and (ids.min() < 0 or ids.max() >= self._vocabulary):
            raise _RefusedError(
                f"ids has a token that the model does not know; it knows 0 to "
                f"{self._vocabulary - 1}. Encode texts by the bundle's own tokenizer."
            )

    def _answer(self, members: list[_Member]) -> Iterator[Any]:
        """One run for all members; yields their responses in order."""
        requested = {name for _, request, _ in members for name in request.requested_output_names()}
        names = sorted(requested)
        columns = zip(*(inputs for _, _, inputs in members), strict=True)
        feed = {
            name: column[0] if len(column) == 1 else np.concatenate(column)
            for name, column in zip(self._inputs, columns, strict=True)
        }
        try:
            outputs = self._run_in_parts(names, feed)
        except Exception as error:  # engines' exceptions have no common base class
            for _ in members:
                yield _failure(f"the engine failed: {error}", pb_utils.TritonError.INTERNAL)
            return
        start = 0
        for _, request, inputs in members:
            stop = start + inputs[0].shape[0]
            found = {name: outputs[name][start:stop] for name in request.requested_output_names()}
            yield _response(found)
            start = stop


def _response(outputs: dict[str, np.ndarray]) -> Any:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            message = (
                f"the engine gave NaN or infinite {name}. Serve the fp32 artefact, or run muqrt "
                "parity on this one."
            )
            return _failure(message, pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor.from_dlpack(name, Shared(array)) for name, array in outputs.items()]
    )


def _failure(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse([], pb_utils.TritonError(message, code))
