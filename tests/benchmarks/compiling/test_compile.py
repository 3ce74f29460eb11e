"""Every kind of graph for GPUs through NVIDIA's parser and compiler."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import CancelledError
from multiprocessing import active_children
from pathlib import Path
from subprocess import CompletedProcess
from threading import Event

import pytest

from muqrt.benchmarks.compiling.graphs import PRECISIONS, GraphSource, Kind
from muqrt.benchmarks.compiling.outcome import Outcome, outcomes
from muqrt.benchmarks.compiling.run import KeptRows, Row, compile_all
from muqrt.export.sources.checkpoint import load_source
from muqrt.reference.checkpoint import load_checkpoint, save_checkpoint
from muqrt.reference.head import Head, HeadConfig, save_head
from muqrt.reference.random_model import CONFIGS, TINY, random_model
from muqrt.runtime.bundle.engine_options import RTX_TARGETS, RtxTarget
from muqrt.runtime.engines.tensorrt.library import full_name, tensorrt_rtx

Command = Callable[..., CompletedProcess[str]]
CHECKPOINTS = Path(__file__).parents[3] / "reference/checkpoints"
# The scales that go with float16 convolutions are in float16: the same numbers as in float32.
HARMLESS = {
    "(foreignNode) Converting conv activation scales to fp32.",
    "(foreignNode) Converting conv weight scales to fp32.",
    "Make sure input ids has Int64 binding.",
    "Make sure input mask has Int64 binding.",
    "Make sure input first_level has Int64 binding.",
    "Make sure input last_level has Int64 binding.",
}
TURING: RtxTarget = "sm75"
ADA_AND_NEWER: set[RtxTarget] = {"sm89", "sm120", "sm121"}
pytestmark = pytest.mark.usefixtures("rtx_library")


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> GraphSource:
    """Everything that a MuQ with a head and an RVQ has, in one layer."""
    folder = tmp_path_factory.mktemp("shallow")
    save_checkpoint(random_model(dataclasses.replace(TINY, encoder_depth=1)), folder / "muq")
    checkpoint = load_checkpoint(folder / "muq")
    config = HeadConfig(
        task="tagging",
        kind="multilabel",
        labels=["loud", "soft"],
        levels=[0, 1],
        width=TINY.encoder_dim,
        hidden=8,
        thresholds=[0.5, 0.5],
        window_seconds=2.0,
        model_sha256=checkpoint.sha256,
        figures={},
    )
    save_head(Head(config), folder / "head")
    return GraphSource(checkpoint, folder / "head")


def refusal(kind: Kind, target: RtxTarget) -> str:
    """What the refusal of a graph has to say; empty if it is to compile."""
    if kind.outputs == ("tokens",):  # of the log-mel: float32 in every precision, no attention
        return ""
    if kind.precision == "fp8" and target not in ADA_AND_NEWER:
        return "fp8 is for sm89 and newer"
    if kind.precision == "bf16" and target == TURING:
        return "bf16 is for sm80 and newer"
    # Without an encoder there is no attention.
    has_attention = (kind.level > 0 and kind.outputs != ("tokens",)) or kind.part == "text tower"
    has_attention |= kind.outputs == ("latents",)
    if kind.precision == "fp32" and target == TURING and has_attention:
        return "it has no float32 attention"
    return ""


def faults(kind: Kind, found: Outcome) -> list[str]:
    wanted = refusal(kind, found.target)
    where = f"{kind.form} {kind.output} for {found.target}, {found.shapes}"
    if wanted:
        refused = wanted in found.refusal
        return [] if refused else [f"{where}: {found.refusal or 'compiled'}, not {wanted!r}"]
    complaints = [*filter(None, [found.refusal]), *({*found.warnings} - HARMLESS)]
    return [f"{where}: {each}" for each in complaints]


def every_fault(
    source: GraphSource, kind: Kind, folder: Path, targets: tuple[RtxTarget, ...]
) -> list[str]:
    found = outcomes(source.write(kind, folder), source.profiles(kind), targets)
    return [each for outcome in found for each in faults(kind, outcome)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_outputs_compile(shallow: GraphSource, precision: str, tmp_path: Path) -> None:
    (kind,) = (e for e in shallow.kinds() if e.precision == precision and e.output == "all")
    assert set(kind.outputs) == {"features", "embedding", "hidden_states", "tags", "tokens"}
    targets: tuple[RtxTarget, ...] = ("sm89", TURING)
    assert every_fault(shallow, kind, tmp_path, targets) == []


def test_the_levels_of_one_graph_compile(shallow: GraphSource, tmp_path: Path) -> None:
    kinds = [each for each in shallow.kinds() if each.output == "levels"]
    assert {each.precision for each in kinds} == {*PRECISIONS}
    (kind,) = (each for each in kinds if each.precision == "fp16")
    assert every_fault(shallow, kind, tmp_path, ("sm89",)) == []


def test_towers_compile(tmp_path: Path) -> None:
    source = GraphSource(load_source(CHECKPOINTS / "muq-mulan-mini"))
    kinds = [each for each in source.kinds() if each.precision == "fp32"]
    assert [each.output for each in kinds] == ["latents", "text tower"]
    for kind in kinds:
        assert every_fault(source, kind, tmp_path, ("sm86",)) == []


def test_a_run_that_was_interrupted_continues(tmp_path: Path) -> None:
    row = Row("fp16", "tokens", [Outcome("sm89", "fixed", 1.5, 10, "", ("told",))])
    rows = KeptRows(tmp_path / "kept")
    rows.put(["compiler", "sm89"], row)
    with (tmp_path / "kept").open("a") as file:
        file.write('[["half a li')
    again = KeptRows(tmp_path / "kept")
    assert again.get(["compiler", "sm89"]) == row
    assert again.get(["other compiler", "sm89"]) is None
    again.put(["compiler", "sm80"], row)
    third = KeptRows(tmp_path / "kept")
    assert third.get(["compiler", "sm89"]) == third.get(["compiler", "sm80"]) == row
    third.remove()
    assert not (tmp_path / "kept").exists()


def features(source: GraphSource, folder: Path) -> tuple[Path, Kind]:
    """The smallest graph."""
    kind = Kind("fp16", ("features",), 0)
    return source.write(kind, folder), kind


def test_stopping_kills_the_compiler(shallow: GraphSource, tmp_path: Path) -> None:
    path, kind = features(shallow, tmp_path)
    stopped = Event()
    stopped.set()
    with pytest.raises(CancelledError):
        list(outcomes(path, shallow.profiles(kind), RTX_TARGETS, stopped))
    assert active_children() == []


def test_an_error_of_the_compilers_process_is_this_ones(
    shallow: GraphSource, tmp_path: Path
) -> None:
    path, _ = features(shallow, tmp_path)
    with pytest.raises(TypeError, match="set_shape"):
        list(outcomes(path, {"fixed": {"waveform": ()}}, ("sm89",)))  # type: ignore[dict-item]


@pytest.mark.full
def test_a_compiler_that_crashes_takes_one_build_along(
    shallow: GraphSource, tmp_path: Path
) -> None:
    path, kind = features(shallow, tmp_path)
    wanted = [(shapes, target) for shapes in shallow.profiles(kind) for target in RTX_TARGETS]
    found = []
    for outcome in outcomes(path, shallow.profiles(kind), RTX_TARGETS):
        if not found:
            (process,) = active_children()
            process.kill()
        found.append(outcome)
    assert [(each.shapes, each.target) for each in found] == wanted
    assert len([each for each in found if each.refusal]) <= 1
    assert {each.refusal for each in found} <= {
        "",
        "The compiler's process ended without a message.",
    }


def test_the_report(shallow: GraphSource, tmp_path: Path) -> None:
    kinds = [each for each in shallow.kinds() if each.output == "features, level 0"]
    graphs = [(shallow, each) for each in kinds if each.precision in ("fp32", "bf16")]
    steps: list[str] = []
    report = compile_all(graphs, ("sm75", "sm80"), 2, tmp_path / "kept", steps.append)
    assert len(steps) == 8 and not (tmp_path / "kept").exists()
    (overview,) = report.results()
    assert [row[0] for row in overview.rows] == ["fp32", "bf16"]
    assert [row[1].split(",")[0] for row in overview.rows] == ["2 of 2", "refused"]
    assert overview.rows[1][2].startswith("2 of 2")
    assert any("Refused 2 times" in each and "b16" in each for each in report.remarks())
    dynamic, fixed = report.details()
    assert dynamic.rows[0][0] == fixed.rows[0][0] == "fp32: features, level 0"
    assert json.loads(json.dumps(report.document()))["rows"][1]["outcomes"][0]["refusal"]


def test_what_an_earlier_run_compiled_counts_as_done(shallow: GraphSource, tmp_path: Path) -> None:
    kind = Kind("fp16", ("features",), 0)
    row = Row(kind.form, kind.output, [Outcome("sm89", "fixed", 1.5, 10, "", ())])
    key = [full_name(tensorrt_rtx()), shallow.checkpoint.sha256, kind.form, kind.output, "sm89"]
    KeptRows(tmp_path / "kept").put(key, row)
    steps: list[str] = []
    report = compile_all([(shallow, kind)], ("sm89",), 1, tmp_path / "kept", steps.append)
    assert report.rows == [row] and steps == ["fp16 features, level 0 for sm89"]


@pytest.mark.parametrize(("option", "value"), [("--targets", "sm90"), ("--precision", "int4")])
def test_the_command_refuses_what_is_not_there(
    tiny_checkpoint: Path, option: str, value: str, muqrt: Command
) -> None:
    done = muqrt("bench", "compile", str(tiny_checkpoint), option, value)
    assert done.returncode == 2
    assert f"{option} {value!r}: choose among" in " ".join(done.stderr.split())


@pytest.mark.full
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["muq-mini", "muq-mulan-mini"])
def test_every_graph_for_every_target(name: str, precision: str, tmp_path: Path) -> None:
    source = GraphSource(load_source(CHECKPOINTS / name))
    kinds = [kind for kind in source.kinds() if kind.precision == precision]
    assert kinds
    found = [each for kind in kinds for each in every_fault(source, kind, tmp_path, RTX_TARGETS)]
    assert found == []


@pytest.mark.full
@pytest.mark.slow
def test_the_released_architecture_compiles_in_float16(tmp_path: Path) -> None:
    save_checkpoint(random_model(CONFIGS["large"]), tmp_path / "muq")
    source = GraphSource(load_checkpoint(tmp_path / "muq"))
    (kind,) = (e for e in source.kinds() if e.precision == "fp16" and e.output == "all")
    assert every_fault(source, kind, tmp_path, ("sm89",)) == []
