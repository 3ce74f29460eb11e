"""Names from before the packages of today: still importable, with a warning, at no cost."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from muqrt.common.moved import moved_modules

# What the README, the docs, the examples and the server's model.py files imported.
OLD_NAMES = """
muqrt.console: show
muqrt.environment: device_name environment
muqrt.export.parity: Excerpt excerpts parity
muqrt.files: sha256
muqrt.kernels.log_mel: mel_projection
muqrt.kernels.mel_rvq_torch: steps_of
muqrt.reference.training.plan: Plan
muqrt.runtime: audio
muqrt.runtime.audio: check_rate load mono_from_array
muqrt.runtime.bundle: Artefact Bundle load_bundle
muqrt.runtime.device_name: device_name
muqrt.runtime.events: Smoothing TagEvents
muqrt.runtime.joint: LATENTS
muqrt.runtime.labels: LabelSet
muqrt.runtime.load: load open_bundle
muqrt.runtime.model: Model
muqrt.runtime.open_session: open_session
muqrt.runtime.search_index: open_index
muqrt.runtime.session: Session WAVEFORM
muqrt.runtime.stream: Sliding
muqrt.runtime.streaming: Hop Streaming
muqrt.runtime.tagging: TAGS
muqrt.runtime.text_encoder: TextEncoder
muqrt.runtime.zero_shot: LabelTagger
muqrt.stream: LocalStreams
muqrt.triton_repo.async_streaming_client: AsyncStreamingClient
muqrt.triton_repo.backends: onnxruntime
muqrt.triton_repo.client: Statistics TritonSession statistics
muqrt.triton_repo.connection: BusyError
muqrt.triton_repo.contract: Contract
muqrt.triton_repo.joint_config: AUDIO_TOWER CLIP_COSINES COSINES LABEL_SET LABEL_SETS LABELS NAMES
muqrt.triton_repo.joint_config: PROBABILITIES TEMPLATES TEXT TEXT_TOWER Tower tower_in
muqrt.triton_repo.joint_repository: load_tokenizer write_joint_repository
muqrt.triton_repo.label_sets: FOLDER LabelSets
muqrt.triton_repo.last_will: LastWill
muqrt.triton_repo.live_streams: Chunk NoSuchStreamError TooManyStreamsError Totals
muqrt.triton_repo.profiles: PROFILES
muqrt.triton_repo.recent_latents: RecentLatents
muqrt.triton_repo.repository: write_repository
muqrt.triton_repo.server: Server
muqrt.triton_repo.stream_config: CHUNK_INDEX PCM RATE SECONDS WAVEFORM
muqrt.triton_repo.stream_repository: load_streams write_stream_repository
muqrt.triton_repo.streaming_client: StreamingClient
muqrt.triton_repo.zero_shot: Answer Question ZeroShotService
muqrt.triton_repo.zero_shot_client: embed_text tag_labels
"""
OLD = [
    (module, name)
    for line in OLD_NAMES.strip().split("\n")
    for module, _, names in [line.partition(": ")]
    for name in names.split()
]
MODULES = {("muqrt.runtime", "audio"), ("muqrt.triton_repo.backends", "onnxruntime")}
# Not moved: these warn of nothing.
STAYED = ("muqrt.runtime", "muqrt.runtime.load", "muqrt.runtime.model")
STAYED += ("muqrt.triton_repo.backends",)
OF_NOTHING_HEAVY = ("numpy", "pydantic", "torch", "typer")


@pytest.mark.parametrize(("module", "name"), OLD)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_name_of_the_previous_version_still_imports(module: str, name: str) -> None:
    __import__(module, fromlist=[name])
    found = getattr(import_module(module), name)
    # A new module hides a function of the same name.
    assert isinstance(found, ModuleType) == ((module, name) in MODULES)


def test_each_warns_of_the_new_place() -> None:
    lines = {m: f"from {m} import {n}" for m, n in OLD if m not in STAYED}
    warned = fresh("\n".join(["import warnings; warnings.simplefilter('always')", *lines.values()]))
    for number, module in enumerate(lines, 2):
        new = moved_modules()[module.removeprefix("muqrt.")]
        message = f"{module} is deprecated: import muqrt.{new} instead."
        assert f"<string>:{number}: DeprecationWarning: {message}" in warned.stderr


def test_a_renamed_class_is_the_new_one() -> None:
    from muqrt.runtime.streaming.stream import SlidingConfig

    with pytest.warns(DeprecationWarning):
        sys.modules.pop("muqrt.runtime.stream", None)
        old = import_module("muqrt.runtime.stream")
    assert old.Sliding is SlidingConfig


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_new_module_exists() -> None:
    for new in moved_modules().values():
        if "triton" not in new.rpartition(".")[2]:  # Triton's kernels need Triton
            import_module(f"muqrt.{new}")


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'muqrt\.runtime\.nothing'"):
        import_module("muqrt.runtime.nothing")
    with pytest.raises(AttributeError, match="has no attribute '_private'"):
        _ = import_module("muqrt.runtime.audio")._private
    with pytest.raises(AttributeError, match=r"became muqrt\.runtime\.audio\.read.*no 'nothing'"):
        _ = import_module("muqrt.runtime.audio").nothing


def test_the_table_is_read_only_when_it_is_needed() -> None:
    code = """
import sys
import muqrt
from muqrt.common import moved
assert not moved.moved_modules.cache_info().currsize
import muqrt.triton_repo.client, muqrt.runtime.audio
print(*sys.modules)
"""
    loaded = {name.partition(".")[0] for name in fresh(code).stdout.split()}
    assert not loaded & set(OF_NOTHING_HEAVY)


def fresh(code: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
