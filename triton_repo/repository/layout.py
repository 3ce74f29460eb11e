"""How an artefact is served: where its files go, and its configuration."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ...common.words import WORDS_FILE
from ...errors import BundleError, UsageError
from ...runtime.bundle.joint import LATENTS, TOKENIZER_FILE
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.parts import PARTS, graph_files
from ...runtime.bundle.record import TensorSpec
from ...runtime.bundle.tensorrt_plan import TensorRTPlan
from ...runtime.bundle.tokens import TOKENS, TOKENS_FILE
from ...runtime.streaming.stream import SlidingConfig
from ..contract.artefact import Contract
from ..contract.config import MODEL_FILENAME, ModelConfig
from ..contract.options import ServingOptions
from ..contract.stream import StreamContract
from ..serving import script_of
from .memory import given_memory_bytes

SCRIPT_FILENAME = "model.py"
WHOLE_MODEL, LIVE_STREAMS, TEXTS, ZERO_SHOT, TRACKS = map(
    script_of, ("EngineModel", "StreamModel", "TextModel", "ZeroShotModel", "TrackModel")
)


@dataclass(frozen=True)
class Layout:
    """The files in a version's folder.

    Attributes:
        backend: Triton's backend for the artefact's engine.
        filename: the file to load: a graph, a plan or a script.
        plans: for TensorRT, the plan for each compute capability.
        sources: the bundle's file for each place in the folder.
        hashes: the SHA-256 of each file.
        artefacts: the artefacts they belong to; several only for TensorRT.
        script: the text of the ``model.py`` that the Python backend runs.
        is_bundle: whether the folder is also a bundle, of the artefact alone.
    """

    backend: Literal["onnxruntime", "tensorrt", "python"]
    filename: str
    plans: Mapping[str, str]
    sources: Mapping[str, str]
    hashes: Mapping[str, str]
    artefacts: tuple[Artefact, ...]
    script: str | None = None
    is_bundle: bool = False


def layout_of(bundle: Bundle, artefact: Artefact, outputs: tuple[str, ...] = ()) -> Layout:
    """How an artefact is served.

    Args:
        outputs: the outputs to serve; all but the latents when empty.
    """
    if artefact.engine == "coreml":
        raise UsageError(
            f"{artefact.name} is for apps on Apple's devices, and no server runs it; choose "
            "another artefact (--artefact)."
        )
    if artefact.engine == "onnxruntime":
        return _graph(artefact, [spec.name for spec in _served(artefact, outputs)])
    if artefact.engine == "tensorrt":
        return _plans(bundle, artefact)
    return scripted(artefact, WHOLE_MODEL)


def scripted(artefact: Artefact, script: str) -> Layout:
    """A bundle of the artefact alone, with the script that runs it in the Python backend."""
    hashes = {**artefact.files, SCRIPT_FILENAME: _sha256_of(script)}
    sources = {name: name for name in artefact.files}
    return Layout("python", SCRIPT_FILENAME, {}, sources, hashes, (artefact,), script, True)


def joint_layout(bundle: Bundle, artefact: Artefact) -> Layout:
    """The files of ``mulan_text`` for a text tower, of ``zeroshot`` for an audio tower."""
    script, joint = TEXTS if artefact.tower == "text" else ZERO_SHOT, bundle.joint
    assert joint is not None  # the artefact gives latents
    hashes = {TOKENIZER_FILE: joint.tokenizer_sha256, SCRIPT_FILENAME: _sha256_of(script)}
    sources = {TOKENIZER_FILE: joint.tokenizer}
    if WORDS_FILE in bundle.files:
        hashes[WORDS_FILE], sources[WORDS_FILE] = bundle.files[WORDS_FILE], WORDS_FILE
    return Layout("python", SCRIPT_FILENAME, {}, sources, hashes, (artefact,), script)


def track_layout(artefact: Artefact) -> Layout:
    """The files of ``track``, which calls the artefact's model."""
    hashes = {SCRIPT_FILENAME: _sha256_of(TRACKS)}
    return Layout("python", SCRIPT_FILENAME, {}, {}, hashes, (artefact,), TRACKS)


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def config_of(
    bundle: Bundle, artefact: Artefact, model_name: str, options: ServingOptions
) -> ModelConfig:
    """The configuration of an artefact's model."""
    layout = layout_of(bundle, artefact, options.outputs)
    if artefact.engine in ("tensorrt", "tensorrt-rtx"):
        kind: Literal["KIND_CPU", "KIND_GPU", "KIND_AUTO"] = "KIND_GPU"
    else:
        kind = "KIND_CPU" if artefact.target == "cpu" else "KIND_AUTO"
    config = ModelConfig(
        name=model_name,
        contract=contract_of(bundle, artefact, options.outputs),
        options=options,
        kind=kind,
        backend=layout.backend,
        filename=layout.filename,
        plans=layout.plans,
        memory_bytes=given_memory_bytes(),
    )
    for each in layout.artefacts:
        _require_covered(each, config)
    return config


def _require_covered(artefact: Artefact, config: ModelConfig) -> None:
    """Raise UsageError unless a plan takes every batch and length that the server may send."""
    if artefact.shapes is None:
        return
    # Triton's instances use only the first profile.
    profile = artefact.shapes.profiles[0]
    rate_hz = config.contract.framing.sample_rate_hz
    for samples in config.lengths:
        for batch in (1, config.options.max_batch_size):
            if not profile.covers((batch, samples)):
                raise UsageError(
                    f"{artefact.name} takes {profile}, not a batch of {batch} of "
                    f"{samples / rate_hz:g} s: choose --max-batch-size and --length-seconds, or "
                    "build another plan."
                )


def contract_of(bundle: Bundle, artefact: Artefact, outputs: tuple[str, ...] = ()) -> Contract:
    """What a client must know about an artefact.

    Args:
        outputs: the outputs to serve; when empty all but the latents, which are for clips instead
            of windows and cost extra.
    """
    served = _served(artefact, outputs)
    names = {spec.name for spec in served}
    return Contract(
        framing=bundle.framing,
        level=artefact.level,
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        source=_source_of(bundle),
        inputs=artefact.inputs,
        outputs=served,
        meanings={name: each for name, each in bundle.meanings.items() if name in names},
    )


def stream_contract(bundle: Bundle, artefact: Artefact, sliding: SlidingConfig) -> StreamContract:
    """What a client must know about the live model of an artefact."""
    if bundle.tagging is None:
        raise BundleError(
            f"{bundle.folder}: the bundle has no tags, which live streams need. Export it with a "
            "head: muqrt export --head HEAD"
        )
    facts = artefact.precision, artefact.digest, _source_of(bundle)
    return StreamContract(bundle.tagging, sliding, *facts)


def _source_of(bundle: Bundle) -> str:
    """The checkpoint that a bundle was made from, as contracts name it."""
    return f"{bundle.source.checkpoint} sha256:{bundle.source.sha256}"


def _served(artefact: Artefact, outputs: tuple[str, ...]) -> list[TensorSpec]:
    known = {spec.name: spec for spec in artefact.outputs}
    if unknown := [name for name in outputs if name not in known]:
        raise UsageError(
            f"no output {', '.join(unknown)}; artefact {artefact.name!r} has: {', '.join(known)}."
        )
    if outputs:
        return [spec for name, spec in known.items() if name in outputs]
    # A text tower gives nothing but latents.
    return [spec for name, spec in known.items() if name != LATENTS] or artefact.outputs


def _graph(artefact: Artefact, served: list[str]) -> Layout:
    """The smallest ONNX graph with these outputs, and its external data."""
    home = PurePosixPath(artefact.file).parent
    graphs = graph_files(
        artefact.file, artefact.files, [output.name for output in artefact.outputs]
    )
    graph = next(file for gives, file in graphs if gives.issuperset(served))
    # A server runs whole windows: the graphs of parts are not needed.
    left_out = {part(artefact.file) for part in PARTS}
    left_out |= {file for _, file in graphs}
    if TOKENS in served:  # the drop-in backend chooses a graph for each request
        left_out.discard(TOKENS_FILE)
    left_out.discard(graph)
    # ONNX Runtime knows its own format by the suffix.
    filename = PurePosixPath(MODEL_FILENAME).with_suffix(PurePosixPath(graph).suffix).name
    sources: dict[str, str] = {}
    for name in (name for name in artefact.files if name not in left_out):
        path = PurePosixPath(name)
        if not path.is_relative_to(home):
            raise BundleError(
                f"{name} is not beside {artefact.file}, so the graph cannot refer to it once it "
                "is in a model repository. Export the bundle again."
            )
        # The graph refers to its external data by this name, relative to itself.
        place = filename if name == graph else path.relative_to(home).as_posix()
        if place in sources:
            raise BundleError(f"external data of {graph} is called {filename}; rename it")
        sources[place] = name
    hashes = {place: artefact.files[name] for place, name in sources.items()}
    return Layout("onnxruntime", filename, {}, sources, hashes, (artefact,))


def _plans(bundle: Bundle, artefact: Artefact) -> Layout:
    """The artefact's plan, and the certified plans of the same model for other GPUs."""
    if _plan(artefact).weights is not None:
        raise BundleError(
            f"{artefact.name}: a stripped plan, whose weights Triton's TensorRT backend cannot "
            "restore. Build a plan without --strip."
        )
    chosen = {_capability(artefact): artefact}
    for other in bundle.artefacts:
        if other.engine == "tensorrt" and other.certified and _same_model(artefact, other):
            chosen.setdefault(_capability(other), other)
    plans = {capability: f"model-{capability}.plan" for capability in sorted(chosen)}
    return Layout(
        "tensorrt",
        plans[_capability(artefact)],
        plans,
        {place: chosen[capability].file for capability, place in plans.items()},
        {place: chosen[each].files[chosen[each].file] for each, place in plans.items()},
        tuple(chosen.values()),
    )


def _capability(artefact: Artefact) -> str:
    return _plan(artefact).compute_capability


def _plan(artefact: Artefact) -> TensorRTPlan:
    assert isinstance(artefact.plan, TensorRTPlan)  # the manifest is validated
    return artefact.plan


def _same_model(one: Artefact, other: Artefact) -> bool:
    return (
        _plan(one).tensorrt == _plan(other).tensorrt
        and _plan(one).weights == _plan(other).weights
        and (one.precision, one.level) == (other.precision, other.level)
        and (one.inputs, one.outputs) == (other.inputs, other.outputs)
    )
