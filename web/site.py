"""A bundle as a static folder: the built page, and the model's parts, filters and stored answer."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import atomic_folder, sha256
from ..common.lock import LOCK_FILE
from ..errors import BundleError, MissingDependencyError, UsageError
from ..runtime.audio import read as audio
from ..runtime.bundle.certificate import THRESHOLDS
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.bundle.parts import encoder_file, front_end_file
from ..runtime.bundle.tagging import TAGS, Tagging
from ..runtime.engines.open_session import open_session
from ..runtime.engines.session import WAVEFORM, require_output
from . import label_site
from .filters import RATES_HZ, measured_filter
from .graph_weights import weight_ranges
from .rounding import ROUNDED_PRECISION, RoundedTensor, restored, round_weights, tags_of

SITE = "site.json"
MODEL = "model"
PAGE = Path(__file__).with_name("dist") / "site"
_EXCERPT = Path(__file__).parents[1] / "examples" / "audio" / "ode_to_joy_band.ogg"
_EXCERPT_SECONDS = 4
_INT16_FULL_SCALE = 2**15
# The least to load first. What else ONNX Runtime has in a browser is no smaller.
_PRECISIONS = ("int8", "int8-weights", "fp32")
_RUNTIME = {
    "wasm": "ort-wasm-simd-threaded.wasm",
    "webgpu": "ort-wasm-simd-threaded.asyncify.wasm",
}


_TAGGING = ("task", "vocabulary", "thresholds", "groups", "window_seconds")


@dataclass(frozen=True)
class SiteReport:
    """What was written.

    Attributes:
        artefact: the artefact's name.
        bytes: of all files.
        first_bytes: what a visitor loads before the model runs.
        first_gzip_bytes: the same as a host sends it that compresses.
    """

    artefact: str
    bytes: int
    first_bytes: int
    first_gzip_bytes: int


def write_site(
    bundle: Bundle,
    folder: Path,
    artefact: str | None = None,
    on_step: Callable[[str], None] = lambda what: None,
    exact: bool = False,
) -> SiteReport:
    """Write the page and the bundle's model into ``folder``, whole or not at all.

    Args:
        bundle: with tags, or a MuQ-MuLan that is small enough.
        folder: replaced if it is there and has nothing but a site in it.
        artefact: its name; when left out the certified one that is the least to load.
        on_step: called with what is being done.
        exact: keep every bit of an fp32 artefact's weights.

    Raises:
        BundleError: no tags, no parts, not certified, or changed since it was exported.
        MissingDependencyError: the page has not been built.
        UsageError: the folder has something else in it.
    """
    if not (PAGE / "index.html").is_file():
        raise MissingDependencyError(
            "this muqrt was installed without the built page. With Node.js 20 or newer: "
            f"cd {PAGE.parents[1]} && npm ci && npm run build"
        )
    _require_only_a_site(folder)
    has_words = bundle.joint is not None and bundle.tagging is None
    chosen = label_site.chosen(bundle, artefact) if has_words else _chosen(bundle, artefact)
    bundle.verify(chosen)
    with atomic_folder(folder) as temporary:
        on_step("the page")
        shutil.copytree(PAGE, temporary, dirs_exist_ok=True)
        model = temporary / MODEL
        model.mkdir()
        facts = _labels if has_words else partial(_tags, exact=exact)
        found = facts(bundle, chosen, model, on_step)
        document = _document(bundle, chosen, model, on_step) | found
        (model / SITE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        first = [*_page_files(temporary), *(model / each for each in _first(document))]
        return SiteReport(
            chosen.name,
            sum(each.stat().st_size for each in temporary.rglob("*") if each.is_file()),
            sum(each.stat().st_size for each in first),
            sum(len(gzip.compress(each.read_bytes(), 6)) for each in first),
        )


def _require_only_a_site(folder: Path) -> None:
    """Whatever else is there would be lost."""
    if not folder.exists():
        return
    known = {MODEL, LOCK_FILE, *(each.name for each in PAGE.iterdir())}
    if not folder.is_dir() or any(each.name not in known for each in folder.iterdir()):
        raise UsageError(
            f"{folder}: not empty, and not (only) a site; choose another folder, or empty it."
        )


def _chosen(bundle: Bundle, name: str | None) -> Artefact:
    """The artefact that the page runs."""
    usable = [
        each
        for each in bundle.audio_artefacts
        if each.engine == "onnxruntime"
        and each.precision in _PRECISIONS
        and {front_end_file(each.file), encoder_file(each.file)} <= each.files.keys()
    ]
    named = usable if name is None else [each for each in usable if each.name == name]
    if not named:
        asked = "no artefact" if name is None else f"artefact {name!r} is none"
        raise BundleError(
            f"{bundle.folder}: {asked} that a browser runs: an ONNX one in "
            f"{', '.join(_PRECISIONS)}, exported with its parts."
        )
    named.sort(key=lambda each: (not each.certified, _PRECISIONS.index(each.precision)))
    return bundle.artefact(named[0].name)  # refused unless it is certified


def _document(
    bundle: Bundle, artefact: Artefact, model: Path, on_step: Callable[[str], None]
) -> dict[str, Any]:
    """What the page has to know of every model."""
    on_step("the filters")
    return {
        "format_version": 2,
        "model": bundle.source.checkpoint,
        "artefact": artefact.name,
        "precision": artefact.precision,
        "framing": bundle.framing.model_dump(),
        "runtime": {
            backend: _listed(model.parent / "runtime" / name, f"../runtime/{name}")
            for backend, name in _RUNTIME.items()
        },
        "filters": list(_filters(model, bundle.framing.sample_rate_hz)),
    }


def _labels(
    bundle: Bundle, artefact: Artefact, model: Path, on_step: Callable[[str], None]
) -> dict[str, Any]:
    """Write a MuQ-MuLan's files into ``model``; returns what the page has to know of it."""
    on_step("the model")
    file, waveform = _excerpt(bundle, model)
    put = partial(_put, model)
    return {"labels": label_site.label_facts(bundle, artefact, put, file, waveform)}


def _tags(
    bundle: Bundle, artefact: Artefact, model: Path, on_step: Callable[[str], None], exact: bool
) -> dict[str, Any]:
    """Write the model's files into ``model``; returns what the page has to know of its tags."""
    file = artefact.file
    graphs = bundle.path(front_end_file(file)), bundle.path(encoder_file(file))
    on_step("the model")
    front_end, encoder = (_put(model, graph.name, graph.read_bytes()) for graph in graphs)
    on_step("the stored answer")
    tagging, answer, waveform = _answer(bundle, artefact, model)
    ranges = weight_ranges(graphs)
    files = {name: bundle.path(name).read_bytes() for name in ranges}
    tensors: list[RoundedTensor] = []
    if artefact.precision == "fp32" and not exact:
        on_step("smaller weights")
        limit = THRESHOLDS[ROUNDED_PRECISION].largest_tag_change
        rounded, candidates = round_weights(*graphs, files)
        found = tags_of(*graphs, restored(rounded, candidates), waveform)
        if np.abs(found - answer["tags"]).max() <= limit:
            files, tensors = rounded, candidates
            answer["largest_tag_change"] = limit
    weights = [
        {
            "name": name,
            "total_bytes": len(data),
            "offset": ranges[name].start,
            "file": _put(model, name, data[ranges[name].start : ranges[name].stop]),
            "rounded": [each.facts for each in tensors if each.file == name],
        }
        for name, data in files.items()
    ]
    return {
        "tagging": {name: getattr(tagging, name) for name in _TAGGING},
        "front_end": front_end,
        "encoder": encoder,
        "weights": weights,
        "answer": answer,
    }


def _answer(
    bundle: Bundle, artefact: Artefact, model: Path
) -> tuple[Tagging, dict[str, Any], np.ndarray]:
    """An excerpt of music, the tags that the bundle's full precision gives it here, its samples."""
    file, exact = _excerpt(bundle, model)
    with open_session(bundle, reference_of(bundle, artefact), threads=1) as session:
        tagging = require_output(session, Tagging)
        (tags,) = session.run({WAVEFORM: exact[None]}, [TAGS])[TAGS]
    facts = {
        "file": file,
        "tags": [float(each) for each in tags],
        "largest_tag_change": THRESHOLDS[artefact.precision].largest_tag_change,
    }
    return tagging, facts, exact


def _excerpt(bundle: Bundle, model: Path) -> tuple[dict[str, Any], np.ndarray]:
    """An excerpt of music as a file of the site, and its samples, float32 (samples,)."""
    rate_hz = bundle.framing.sample_rate_hz
    waveform = audio.load(_EXCERPT, rate_hz)[: _EXCERPT_SECONDS * rate_hz]
    stored = np.rint(waveform * _INT16_FULL_SCALE).clip(-_INT16_FULL_SCALE, _INT16_FULL_SCALE - 1)
    exact = (stored / _INT16_FULL_SCALE).astype(np.float32)
    return _put(model, "excerpt.pcm", stored.astype("<i2").tobytes()), exact


def reference_of(bundle: Bundle, artefact: Artefact) -> Artefact:
    """What a page's answers are compared with: full precision, where the bundle has it."""
    full = ("onnxruntime", "fp32")
    for each in bundle.audio_artefacts:
        if each.certified and (each.engine, each.precision) == full:
            return each
    return artefact


def _filters(model: Path, target_rate_hz: int) -> Iterable[dict[str, Any]]:
    for rate_hz in RATES_HZ:
        found = measured_filter(rate_hz, target_rate_hz)
        up, taps = found.rows.shape
        numbers = np.concatenate([found.rows.ravel(), found.start.ravel()])
        yield {
            "rate_hz": rate_hz,
            "up": up,
            "down": found.down,
            "taps": taps,
            "before": found.before,
            "start_outputs": len(found.start),
            "start_inputs": found.start.shape[1],
            "file": _put(model, f"filter-{rate_hz}.f64", numbers.astype("<f8").tobytes()),
        }


def _put(model: Path, name: str, content: bytes) -> dict[str, Any]:
    (model / name).write_bytes(content)
    return _listed(model / name, name)


def _listed(path: Path, name: str) -> dict[str, Any]:
    return {"path": name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _first(document: dict[str, Any]) -> list[str]:
    """The files that are loaded before the model runs, without WebGPU, beside the manifest."""
    facts = document.get("labels", document)
    names = ("audio", "text", "tokenizer") if "labels" in document else ("front_end", "encoder")
    files = [*(facts[name] for name in names), facts["answer"]["file"], document["runtime"]["wasm"]]
    files += [each["file"] for each in facts["weights"]]
    return [SITE, *(each["path"] for each in files)]


def _page_files(site: Path) -> list[Path]:
    """The page without what only WebGPU loads."""
    files = [each for each in site.glob("*") if each.is_file()]
    return files + [each for each in site.glob("assets/*") if "webgpu" not in each.name]
