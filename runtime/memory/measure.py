"""The memory that work with a model takes here: measured in a fresh process, and remembered."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ... import errors
from ...common.environment import cpu_name, installed
from ...common.files import cache_folder
from ...common.process.fresh import fresh_process
from ...common.remembered import Remembered
from ..bundle.manifest import load_bundle
from ..engines.cpus import bounded_threads, given_cpus
from ..fastest import ENGINES
from .work import Memory, Request

MEMORY_FILE = "memory.json"  # its name in the user's cache
_LIBRARIES = ("muqrt", "numpy", "soundfile", "av", "tokenizers", *ENGINES)


def measure(request: Request, cache: Path | None = None) -> Memory:
    """The memory that a request takes, measured once on this machine.

    It is remembered in the user's cache for this work, artefact, processor, number of threads and
    the libraries' versions.

    Args:
        request: what is done.
        cache: the file that remembers; the usual one when None.

    Raises:
        MuqrtError: what the work itself raises. SessionError: its process ended early, which it
            does where memory runs out.
    """
    known = Remembered(cache or cache_folder() / MEMORY_FILE, Memory)
    facts = _facts(request)
    found = known.get(facts)
    if found is None:
        absolute = replace(request, bundle=str(Path(request.bundle).absolute()))
        _, answer = fresh_process("muqrt.runtime.memory.work", request.artefact, asdict(absolute))
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        found = Memory(**answer)
        known.put(facts, found)
    return found


def _facts(request: Request) -> dict[str, Any]:
    """What the memory depends on."""
    artefact = load_bundle(request.bundle).named(request.artefact)
    return {
        "artefact": artefact.digest,
        "work": asdict(request.work),
        "threads": bounded_threads(request.threads) or given_cpus(),
        "batch_size": request.batch_size,
        "cpu": cpu_name(),
        "libraries": {name: installed(name) for name in _LIBRARIES},
    }
