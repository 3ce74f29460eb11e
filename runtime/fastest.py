"""The fastest of a bundle's certified artefacts, measured once on this machine."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..common.environment import cpu_name, gpu_names, installed
from ..common.files import cache_folder
from ..common.remembered import Remembered
from ..errors import BundleError, MissingDependencyError, SessionError, UsageError
from .bundle.manifest import Artefact, Bundle
from .engines.cpus import bounded_threads, given_cpus
from .engines.open_session import open_session
from .engines.session import WAVEFORM

FASTEST_FILE = "fastest.json"  # its name in the user's cache
_AUDIO_SECONDS = 10.0  # or a window, where that is shorter
_RUNS = 3
# What decides the speed besides the artefact, the hardware and the threads.
ENGINES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "executorch",
    "ai-edge-litert",
    "torch",
    "cuda-bindings",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
)

# The seconds that an artefact takes for a waveform (1, samples), with so many threads on a device.
Measure = Callable[[Bundle, Artefact, np.ndarray, int | None, str | None], float]


@dataclass(frozen=True)
class Fastest:
    """The artefact chosen, and why.

    Attributes:
        artefact: its name.
        accuracy: the worst frame cosine that was asked for.
        seconds: what each artefact took, by its name; empty where there was no choice.
        left_out: why others were not measured, by their names.
        audio_seconds: the audio's duration.
        cpu: the processor.
        threads: how many were used.
        remembered: whether it was measured earlier.
    """

    artefact: str
    accuracy: float
    seconds: Mapping[str, float]
    left_out: Mapping[str, str]
    audio_seconds: float
    cpu: str
    threads: int
    remembered: bool

    @property
    def why(self) -> str:
        """The choice in a line for people."""
        left_out = "".join(f"; {name}: {reason}" for name, reason in self.left_out.items())
        if not self.seconds:
            return f"{self.artefact} is the only artefact to choose from{left_out}."
        ranked = sorted(self.seconds.items(), key=lambda item: item[1])
        figures = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in ranked)
        when = "measured earlier" if self.remembered else "measured now, and remembered"
        return (
            f"{self.artefact} is the fastest here: {figures} for {self.audio_seconds:g} s of audio "
            f"({self.cpu}, threads: {self.threads}; {when}){left_out}."
        )

    @property
    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Seconds:
    """What is remembered: each artefact's seconds, or why it was left out."""

    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    left_out: dict[str, str]


def seconds_of(
    bundle: Bundle,
    artefact: Artefact,
    waveform: np.ndarray,
    threads: int | None,
    device: str | None,
) -> float:
    """Run an artefact on a waveform once, then measure; returns the least of three runs' seconds.

    Raises:
        SessionError: it does not run here. MissingDependencyError: its engine is not installed.
    """
    with open_session(bundle, artefact, threads, device) as session:
        session.run({WAVEFORM: waveform})
        found = []
        for _ in range(_RUNS):
            began = time.perf_counter()
            session.run({WAVEFORM: waveform})
            found.append(time.perf_counter() - began)
    return min(found)  # other programs can only add to it


def fastest(
    bundle: Bundle,
    accuracy: float = 0.0,
    threads: int | None = None,
    device: str | None = None,
    cache: Path | None = None,
    measure: Measure = seconds_of,
) -> Fastest:
    """Choose the fastest certified artefact that is accurate enough.

    They are measured in turn, and the figures remembered in the user's cache for these artefacts,
    this processor, these GPUs, number of threads, device and versions of the engines.

    Args:
        bundle: whose artefacts for audio.
        accuracy: the least worst frame cosine that a certificate may have, from 0 to 1.
        threads, device: as for ``open_session``.
        cache: the file that remembers; the usual one when None.
        measure: measures an artefact.

    Raises:
        UsageError: no such accuracy. BundleError: no artefact is certified, accurate enough and
            runs here.
    """
    if not 0 <= accuracy <= 1:
        raise UsageError(f"accuracy {accuracy}: a worst frame cosine from 0 to 1 is needed.")
    usual, framing, threads = bundle.artefact(), bundle.framing, bounded_threads(threads)
    used = threads or given_cpus() or os.cpu_count() or 1
    samples = min(framing.window_samples, round(_AUDIO_SECONDS * framing.sample_rate_hz))
    reasons = {each.name: _unfit(each, usual, accuracy) for each in bundle.audio_artefacts}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    candidates = [each for each in bundle.audio_artefacts if each.name not in left_out]
    found, remembered = _Seconds({each.name: 0.0 for each in candidates}, {}), False
    if len(candidates) > 1:
        known = Remembered(cache or cache_folder() / FASTEST_FILE, _Seconds)
        facts = _facts(candidates, samples, used, device)
        earlier = known.get(facts)
        names = reasons.keys() - left_out.keys()
        remembered = earlier is not None and (
            earlier.seconds.keys() | earlier.left_out.keys() == names
        )
        if earlier is None or not remembered:
            noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)
            found = _measured(
                candidates, noise, lambda each: measure(bundle, each, noise, threads, device)
            )
            known.put(facts, found)
        else:
            found = earlier
    left_out |= found.left_out
    if not found.seconds:
        told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise BundleError(f"{bundle.folder}: no artefact to choose from. {told}.")
    return Fastest(
        artefact=min(found.seconds, key=lambda name: found.seconds[name]),
        accuracy=accuracy,
        seconds=found.seconds if len(candidates) > 1 else {},
        left_out=left_out,
        audio_seconds=samples / framing.sample_rate_hz,
        cpu=cpu_name(),
        threads=used,
        remembered=remembered,
    )


def _unfit(artefact: Artefact, usual: Artefact, accuracy: float) -> str:
    """Why an artefact is not to be chosen; empty if it may be."""
    if not artefact.certified or artefact.certificate is None:
        return "no passing certificate"
    if (artefact.level, artefact.outputs) != (usual.level, usual.outputs):
        return f"other outputs than {usual.name}"
    cosine = artefact.certificate.worst.worst_frame_cosine
    return f"worst frame cosine {cosine:.12g}" if cosine < accuracy else ""


def _facts(
    candidates: list[Artefact], samples: int, threads: int, device: str | None
) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "artefacts": sorted(each.digest for each in candidates),
        "samples": samples,
        "cpu": cpu_name(),
        "gpus": gpu_names(),
        "threads": threads,
        "device": device,
        "engines": {name: installed(name) for name in ENGINES},
    }


def _measured(
    candidates: list[Artefact], waveform: np.ndarray, seconds_of: Callable[[Artefact], float]
) -> _Seconds:
    found = _Seconds({}, {})
    for artefact in candidates:
        if artefact.shapes is not None and artefact.shapes.profile_of(waveform.shape) < 0:
            found.left_out[artefact.name] = "takes no audio as long as what is measured with"
            continue
        try:
            found.seconds[artefact.name] = seconds_of(artefact)
        except (MissingDependencyError, SessionError) as error:
            found.left_out[artefact.name] = f"does not run here ({error})"
    return found
