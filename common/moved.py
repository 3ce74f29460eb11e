"""Names of modules before the packages of today, which go on working with a DeprecationWarning.

Model repositories have ``model.py`` files that import them. Nothing is imported until one of the
old names is used.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

_ROOT = __name__.split(".")[0]

# Old package > new package: its modules, each with its new name where that is another.
_MODULES = """
> cli: cli=app
> common: console environment files
> runtime.streaming: stream=local
> triton_repo.client: served_labels=label_tagger
export > export.bundle: addition=candidate parts
export > export: layers_chart=layers
export > export.engines: openvino_artefact=openvino torch_artefact=pytorch
export > export.engines: torch_weights=pytorch_weights
export > export.engines.tensorrt: tensorrt_artefact=artefact engine_from_onnx=build
export > export.engines.tensorrt: engine_progress=progress timing_cache=build
export > export.graph: conformer folding front_end graph=writer head log_mel=front_end patches rvq
export > export.graph: tiling winograd
export > export.outputs: expected=output measuring token_parity=measuring
export > export.parity: engine_shapes parity=gate
export > export.quantize: weight_only
export > export.sources: joint=checkpoint tagging=head tokens=rvq
export.half > export.quantize.half: artefact emulation formats ranges typed
export.int8 > export.quantize.int8: artefact calibration equalization fake front_end=graph graph
export.int8 > export.quantize.int8: ranges search sensitivity sites weights
export.mulan > export.graph.mulan: attention=operators audio=towers latents=operators operators
export.mulan > export.graph.mulan: text=towers transformer xlm_roberta
export.mulan > export.quantize.int8: row_int8=graph
export.qdq > export.quantize.qdq: artefact formats graph
export > runtime.parity: text_parity=texts
kernels > kernels.log_mel: log_mel=contract log_mel_onnx=onnx log_mel_tables=tables
kernels > kernels.log_mel: log_mel_torch=torch log_mel_triton=triton
kernels > kernels.mel_rvq: mel_rvq=contract mel_rvq_onnx=onnx mel_rvq_torch=torch
kernels > kernels.mel_rvq: mel_rvq_quantized_triton=quantized_triton mel_rvq_triton=triton
reference > training.data: manifest
reference > training.probe: tasks
reference.mulan > reference.mulan: audio=model text=model
reference.synth > training.synth: arrangement clips corpus harmony instrument item labels melody
reference.synth > training.synth: mood recording rhythm singer song synthesizer voice
reference.synth > training.synth.styles: style styles=style
reference.training > training.data: caption_tokens caption_words=captions captioned captions
reference.training > training.data: corpus crops labels states
reference.training > training.loop: decay=train devices loop=train plan report run
reference.training > training.mulan: contrastive=trainee mulan=trainee mulan_pipeline=pipeline
reference.training > training.pretrain: iterate pipeline pretrain=trainee rvq
reference.training > training.probe: features fine_tune fit probe=train splits=tasks threshold=fit
runtime > common: closing
runtime > runtime.audio: ahead=prefetch audio=read decode recent resampler tracks
runtime > runtime.bundle: bundle=manifest certificate engine_options joint parts record
runtime > runtime.bundle: plan=tensorrt_plan tagging tokens
runtime > runtime.bundle.precision: mixed_precision quantization
runtime > runtime.engines: cpus device_name open_session session
runtime > runtime.engines.cuda: cuda_device=device device_memory=memory recordings=graph_cache
runtime > runtime.engines.onnxruntime: onnx_binding=binding onnx_providers=providers
runtime > runtime.engines.onnxruntime: onnx_session=session
runtime > runtime.engines.openvino: openvino_session=session
runtime > runtime.engines.pytorch: torch_design=design torch_encoder=encoder torch_engines=engines
runtime > runtime.engines.pytorch: torch_linear=encoder torch_model=model torch_session=session
runtime > runtime.engines.tensorrt: tensorrt_engine=engine tensorrt_lane=execution_slot
runtime > runtime.engines.tensorrt: tensorrt_library=library tensorrt_session=session
runtime > runtime.engines.tensorrt: tensorrt_weights=weights
runtime > runtime.inference: batching clips frames results runner windows
runtime > runtime.search: index_update=update search_index=index
runtime > runtime.streaming: events stream streaming=engine
runtime > runtime.streaming.sources: live_audio=chunks microphone radio
runtime > runtime.text: labels text_cache=cache text_encoder=encoder text_tokenizer=tokenizer
runtime > runtime.text: zero_shot
triton_repo > triton_repo.client: async_streaming_client=streaming_async client=session
triton_repo > triton_repo.client: client_stream=stream_state connection streaming_client=streaming
triton_repo > triton_repo.client: zero_shot_client=zero_shot
triton_repo > triton_repo.contract: config contract=artefact joint_config=mulan label_sets options
triton_repo > triton_repo.contract: profiles=options stream_config=stream
triton_repo > triton_repo.repository: check joint_repository=mulan layout machine repository=write
triton_repo > triton_repo.server: installation last_will=watchdog ports server=process
triton_repo > triton_repo.serving: live_streams recent_latents=latent_cache
triton_repo > triton_repo.serving: stream_repository=load zero_shot
"""

# What has another name in its module, or went to another module than the rest.
_NAMES = {
    "environment.device_name": "common.environment.hardware_name",
    "export.parity.Excerpt": "export.parity.excerpt.Excerpt",
    "export.parity.excerpts": "export.parity.excerpt.excerpts",
    "export.mulan.row_int8.RowInt8Graph": "export.quantize.int8.graph.Int8Graph",
    "kernels.log_mel_torch.frames_of": "kernels.log_mel.checks.frames_of",
    "kernels.mel_rvq_torch.steps_of": "kernels.mel_rvq.checks.steps_of",
    "reference.training.plan.Plan": "training.loop.plan.TrainingPlan",
    "runtime.ahead.ahead": "runtime.audio.prefetch.prefetch",
    "runtime.bundle.TensorSpec": "runtime.bundle.record.TensorSpec",
    "runtime.clips.Clipping": "runtime.inference.clips.ClippingConfig",
    "runtime.device_name.device_name": "runtime.engines.device_name.parse_device",
    "runtime.frames.Excerpt": "runtime.inference.frames.FrameExcerpt",
    "runtime.plan.Plan": "runtime.bundle.tensorrt_plan.TensorRTPlan",
    "runtime.recordings.Recordings": "runtime.engines.cuda.graph_cache.CudaGraphCache",
    "runtime.stream.Sliding": "runtime.streaming.stream.SlidingConfig",
    "runtime.tensorrt_lane.Lane": "runtime.engines.tensorrt.execution_slot.ExecutionSlot",
    "runtime.torch_model.TagHead": "runtime.engines.pytorch.model.TorchTagHead",
    "runtime.windows.Windowing": "runtime.inference.windows.WindowingConfig",
    "triton_repo.last_will.LastWill": "triton_repo.server.watchdog.ParentWatchdog",
    "triton_repo.live_streams.Chunk": "triton_repo.serving.live_streams.StreamChunk",
    "triton_repo.stream_repository.write_stream_repository": (
        "triton_repo.repository.write.write_stream_repository"
    ),
}


@cache
def moved_modules() -> dict[str, str]:
    """Each old module's new one, without the name of the package that all are in."""
    found = {}
    for row in _MODULES.split("\n")[1:-1]:
        places, _, modules = row.partition(":")
        old, new = (place.strip() for place in places.split(">"))
        for each in modules.split():
            name, _, renamed = each.partition("=")
            found[f"{old}.{name}".lstrip(".")] = f"{new}.{renamed or name}"
    return found


def names_of(package: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that was a module: it has that module's names too."""
    old = package.partition(".")[2]

    def find(name: str) -> Any:
        if not name.startswith("_") and not _is_module(f"{package}.{name}"):
            value = _moved_name(old, name)
            _warn(old)
            return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def answer_old_imports() -> None:
    """Let the old names be imported from now on."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)


class _Finder:
    """The last finder to be asked: it knows the modules that are gone, and loads them as modules
    with the names of those they became, or as packages of such modules."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> Any:
        from importlib.machinery import ModuleSpec

        root, _, old = name.partition(".")
        if root != _ROOT:
            return None
        if old in moved_modules():
            return ModuleSpec(name, _Finder)  # type: ignore[arg-type]
        if any(each.startswith(f"{old}.") for each in moved_modules()):
            return ModuleSpec(name, _Finder, is_package=True)  # type: ignore[arg-type]
        return None

    @staticmethod
    def create_module(spec: object) -> None:
        """The usual kind."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Fill it, and warn."""
        old = module.__name__.partition(".")[2]
        if old in moved_modules():
            vars(module)["__getattr__"] = lambda name: _moved_name(old, name)
            _warn(old)


def _moved_name(old: str, name: str) -> Any:
    usual = f"{moved_modules()[old]}.{name}"
    module, _, renamed = _NAMES.get(f"{old}.{name}", usual).rpartition(".")
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return getattr(import_module(f"{_ROOT}.{module}"), renamed)
    except AttributeError:
        raise AttributeError(
            f"{_ROOT}.{old} became {_ROOT}.{module}, which has no {renamed!r}"
        ) from None


def _is_module(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _warn(old: str) -> None:
    message = f"{_ROOT}.{old} is deprecated: import {_ROOT}.{moved_modules()[old]} instead."
    if "triton_python_backend_utils" not in sys.modules:
        warnings.warn(message, DeprecationWarning, stacklevel=3)
        return
    # Python hides these warnings outside the main module, but a server's log is where the person
    # who can write the model again looks.
    with warnings.catch_warnings():
        warnings.simplefilter("always", DeprecationWarning)
        warnings.warn(message, DeprecationWarning, stacklevel=3)
