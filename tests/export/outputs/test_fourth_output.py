"""A further output takes one class and one line of the registry: everything else loops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from muqrt.cli.export.report import parity_tables
from muqrt.errors import ParityError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.graph.writer import Graph
from muqrt.export.outputs import registry
from muqrt.export.outputs.output import Output, Reference
from muqrt.export.outputs.registry import OUTPUTS
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.weight_only import WeightOnlyRecipe
from muqrt.export.sources.sources import Sources
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.runtime.bundle.certificate import Thresholds
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.open_session import open_session


class Peaks(Output):
    """(batch, width): each feature's largest value."""

    name = "peaks"

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec:
        shape: list[int | str] = ["batch", model.config.encoder_dim]
        return TensorSpec(name=self.name, dtype="float32", shape=shape)

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        return graph.op("ReduceMax", states[-1], graph.constant([1]), keepdims=0)

    def requests(self, outputs: Sequence[str]) -> dict[str, list[str]]:
        return {"peaks alone": [self.name]} if self.name in outputs else {}

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        return reference.states[level].max(axis=1)

    def figures(self, worst: Thresholds) -> str:
        return f"worst cosine of peaks {worst.worst_frame_cosine:.4f}"


class WrongPeaks(Peaks):
    """Compared with another answer than the one in the graph."""

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        return reference.states[level].min(axis=1)


@pytest.fixture
def proof(tiny_checkpoint: Path, short_music: list[Excerpt]) -> Proof:
    return Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])


def test_it_is_written_proven_shown_and_quantized(
    proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "OUTPUTS", (*OUTPUTS, Peaks()))
    bundle_from_checkpoint(proof, tmp_path / "bundle", ["peaks"])
    bundle = load_bundle(tmp_path / "bundle")
    add(bundle, WeightOnlyRecipe("int8-weights"), proof)
    for artefact in bundle.artefacts:
        assert artefact.certified and artefact.certificate is not None
        assert [spec.name for spec in artefact.outputs] == ["features", "peaks"]
        ways = [each.audio for each in artefact.certificate.measurements if each.output == "peaks"]
        name = proof.music[0].name
        assert ways == [name, f"{name}, peaks alone", f"{name}, in parts"]
    inputs = {"waveform": proof.music[0].waveform}
    with open_session(bundle, bundle.artefact(), threads=1) as session:
        answer = session.run(inputs)
    np.testing.assert_allclose(answer["peaks"], answer["features"].max(axis=1))
    assert len(parity_tables(bundle.artefacts)) == 2


def test_its_gate_names_its_own_figures(
    proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "OUTPUTS", (*OUTPUTS, WrongPeaks()))
    with pytest.raises(ParityError, match=r"relative L2 .*, worst cosine of peaks "):
        bundle_from_checkpoint(proof, tmp_path / "bundle", ["peaks"])
    assert not (tmp_path / "bundle").exists()


def test_without_its_line_there_is_no_such_output(proof: Proof, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"outputs \['peaks'\]: choose among features"):
        bundle_from_checkpoint(proof, tmp_path / "bundle", ["peaks"])
