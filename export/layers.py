"""Compare every hidden state with the reference's, to find where differences arise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper

from ..common.console import Table
from ..common.environment import import_extra
from ..common.files import atomic_file
from ..errors import BundleError, SessionError
from ..runtime.bundle.certificate import Measurement
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.engines.session import WAVEFORM
from ..runtime.parity.here import runs_here
from ..runtime.parity.measuring import measure
from .graph.saving import save_onnx
from .graph.states import state_values
from .parity.proof import Proof
from .quantize.half.emulation import emulated
from .quantize.half.formats import HALVES, Half
from .sources.checkpoint import require_source


@dataclass(frozen=True)
class LevelDifference:
    """One hidden state of one artefact against the reference's, the worst of all excerpts."""

    artefact: str
    level: int
    relative_l2: float
    worst_frame_cosine: float


def layer_differences(bundle: Bundle, proof: Proof) -> list[LevelDifference]:
    """Compare the hidden states of every ONNX artefact, from level 0 to the artefact's own.

    An artefact of 16 bits is there with every rounding emulated, and as ONNX Runtime runs it where
    it can.

    Args:
        bundle: whose artefacts; nothing is said of other engines'.
        proof: what the bundle was made from, and the music to compare on. Hidden states need
            neither its head nor its RVQ.

    Raises:
        CheckpointError: not what the bundle was made from. BundleError: a file has changed, or no
            artefact is for ONNX Runtime. SessionError: ONNX Runtime refused a graph.
    """
    require_source(bundle, proof.checkpoint)
    artefacts = [each for each in bundle.audio_artefacts if each.engine == "onnxruntime"]
    if not artefacts:
        raise BundleError(f"{bundle.folder}: no artefact is for ONNX Runtime; export it again.")
    sessions = dict(chain.from_iterable(_sessions(bundle, each) for each in artefacts))
    found: dict[tuple[str, int], list[Measurement]] = {}
    for excerpt in proof.music:
        with torch.inference_mode():
            states = proof.checkpoint.model(torch.from_numpy(excerpt.waveform)).hidden_states
        for name, session in sessions.items():
            answers = session.run(None, {WAVEFORM: excerpt.waveform})
            for level, (ours, state) in enumerate(zip(answers, states, strict=False)):
                measured = measure(
                    excerpt.name, excerpt.seconds, f"level {level}", ours, state.numpy()
                )
                found.setdefault((name, level), []).append(measured)
        proof.on_step(excerpt.name)
    return [
        LevelDifference(
            name,
            level,
            max(each.relative_l2 for each in measured),
            min(each.worst_frame_cosine for each in measured),
        )
        for (name, level), measured in found.items()
    ]


def layer_tables(differences: Sequence[LevelDifference]) -> list[Table]:
    """A table for each artefact, a row for each level."""
    tables: list[Table] = []
    for name in dict.fromkeys(each.artefact for each in differences):
        rows = [
            [each.level, f"{each.relative_l2:.1e}", f"{each.worst_frame_cosine:.8f}"]
            for each in differences
            if each.artefact == name
        ]
        tables.append(Table(f"{name}, by level", ["level", "relative L2", "worst cosine"], rows))
    return tables


def chart_file(name: Path) -> Path:
    """Add the suffix .png where it is missing.

    Raises:
        MissingDependencyError: no matplotlib.
    """
    import_extra("bench", "matplotlib")
    return name if name.suffix == ".png" else name.with_name(f"{name.name}.png")


def draw(title: str, differences: Sequence[LevelDifference], path: Path) -> None:
    """Write a PNG, whole or not at all: both figures over the levels, a line for each artefact.

    Of the cosine what it lacks of 1 is drawn. A figure of 0 has no place on the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(each.artefact for each in differences):
        own = [each for each in differences if each.artefact == name]
        levels = [each.level for each in own]
        left.plot(levels, [each.relative_l2 for each in own], marker="o", label=name)
        right.plot(levels, [1 - each.worst_frame_cosine for each in own], marker="o")
    for axes, label in ((left, "relative L2"), (right, "1 - worst frame cosine")):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_xlabel("level")
        axes.set_title(label, fontsize=10, loc="left")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _sessions(bundle: Bundle, artefact: Artefact) -> Iterator[tuple[str, ort.InferenceSession]]:
    """Open an artefact's graph from waveform to hidden states: as it is and, for 16 bits,
    emulated."""
    bundle.verify(artefact)
    half = HALVES.get(artefact.precision)
    if runs_here(bundle, artefact):
        yield artefact.name, _session(bundle, artefact, None)
    if half is not None:
        yield f"{artefact.name}, emulated", _session(bundle, artefact, half)


def _session(bundle: Bundle, artefact: Artefact, half: Half | None) -> ort.InferenceSession:
    model = onnx.load(bundle.path(artefact.file))
    if half is not None:
        model = emulated(model, half)
    values = state_values(model, artefact.level)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", "steps", None])
        for value in values
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with TemporaryDirectory(prefix="muqrt-layers-") as temporary:
        save_onnx(model, Path(temporary) / "levels.onnx")
        try:
            return ort.InferenceSession(
                str(Path(temporary) / "levels.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise SessionError(f"{artefact.name}: ONNX Runtime cannot load it: {error}") from error
