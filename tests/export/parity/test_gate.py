from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import AudioError, CheckpointError
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import EXCERPT_SAMPLES, Excerpt, dithered, excerpts
from muqrt.export.parity.gate import parity
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.parity.measuring import measure

EXCERPT = Excerpt("test", np.zeros((1, 24_000), dtype=np.float32))
FEATURES = np.random.default_rng(0).normal(size=(2, 7, 16)).astype(np.float32)


@pytest.fixture
def checkpoint(tiny: MuQ) -> Checkpoint:
    return Checkpoint(tiny, "tiny", "0" * 64)


@pytest.fixture
def bundle(checkpoint: Checkpoint, short_music: list[Excerpt], tmp_path: Path) -> Bundle:
    return bundle_from_checkpoint(Proof(checkpoint, music=short_music[:1]), tmp_path / "bundle")


def test_equal_outputs_measure_as_equal() -> None:
    found = measure(EXCERPT.name, EXCERPT.seconds, "features", FEATURES, FEATURES)
    assert found.worst_frame_cosine == pytest.approx(1)
    assert (found.relative_l2, found.largest_difference, found.finite) == (0, 0, True)


def test_the_worst_frame_counts() -> None:
    ours = FEATURES.copy()
    ours[1, 3] = -ours[1, 3]
    found = measure(EXCERPT.name, EXCERPT.seconds, "features", ours, FEATURES)
    assert found.worst_frame_cosine == pytest.approx(-1)
    flipped = np.linalg.norm(2 * FEATURES[1, 3]) / np.linalg.norm(FEATURES)
    assert found.relative_l2 == pytest.approx(flipped, rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_value_that_is_not_finite_never_passes(bad: float, side: int) -> None:
    pair = [FEATURES.copy(), FEATURES.copy()]
    pair[side][0, 0, 0] = bad
    found = measure(EXCERPT.name, EXCERPT.seconds, "features", *pair)
    assert not found.finite
    assert found.worst_frame_cosine == -1.0


def test_excerpts_have_the_lengths_that_are_promised(all_excerpts: list[Excerpt]) -> None:
    assert [each.waveform.shape[1] for each in all_excerpts[:-1]] == list(EXCERPT_SAMPLES)
    assert {24_000, 120_000, 240_000, 720_000} < set(EXCERPT_SAMPLES)
    assert any(samples % 240 for samples in EXCERPT_SAMPLES)
    assert len(all_excerpts[-1].waveform) > 1


def test_an_excerpt_is_as_long_as_the_window() -> None:
    window_samples = 45 * 24_000
    found = [each.waveform.shape for each in excerpts([], window_samples)]
    assert (1, window_samples) in found
    assert len(found) == len(excerpts()) + 1
    assert len(excerpts([], 720_000)) == len(excerpts())  # one of 30 s is there


def test_dither_is_one_bit_of_sixteen() -> None:
    waveform = np.linspace(-1, 1, 10_001, dtype=np.float32)
    error = dithered(waveform) - waveform
    assert 2**-16 < np.abs(error).max() < 1.6 * 2**-15
    assert np.array_equal(dithered(waveform), dithered(waveform))


def test_silence_proves_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(24_000), 24_000)
    with pytest.raises(AudioError, match=r"silence\.wav"):
        excerpts([tmp_path / "silence.wav"])


def test_every_output_of_every_excerpt_is_in_the_certificate(bundle: Bundle) -> None:
    (artefact,) = bundle.artefacts
    assert artefact.certified
    assert artefact.certificate is not None
    assert {each.output for each in artefact.certificate.measurements} == {"features", "embedding"}


def test_another_checkpoint_is_refused(bundle: Bundle, short_music: list[Excerpt]) -> None:
    other = Checkpoint(random_model(TINY, seed=1), "other", "1" * 64)
    with pytest.raises(CheckpointError, match="not the checkpoint"):
        parity(bundle, Proof(other, music=short_music[:1]))


@pytest.mark.parametrize("scale", [1.1, np.nan])
def test_one_changed_weight_fails_the_gate(
    bundle: Bundle, checkpoint: Checkpoint, short_music: list[Excerpt], scale: float
) -> None:
    (artefact,) = bundle.artefacts
    path = bundle.path(artefact.file)
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.name.endswith("linear_q_k.weight"))
    changed = numpy_helper.to_array(weight) * np.float32(scale)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, path)
    artefact.files[artefact.file] = sha256(path)
    parity(bundle, Proof(checkpoint, music=short_music[:1]))
    assert artefact.certificate is not None
    assert not artefact.certificate.passed
    assert not artefact.certified


def test_the_reference_answers_once(checkpoint: Checkpoint, short_music: list[Excerpt]) -> None:
    """However many artefacts are proven on the same music, whoever holds it."""
    first, second = short_music[:2]
    proof, runs = Proof(checkpoint, music=short_music[:2]), []
    handle = checkpoint.model.register_forward_hook(lambda *_: runs.append(1))
    found = proof.reference(first.waveform)
    assert proof.reference(first.waveform.copy()) is found
    assert proof.reference(second.waveform) is not found
    # As many bytes, in another shape.
    halves = proof.reference(first.waveform[:, : first.waveform.shape[1] // 2 * 2].reshape(2, -1))
    assert halves.states[0].shape[0] == 2 and len(runs) == 3
    handle.remove()


def test_threads_wait_asleep_beside_the_reference(bundle: Bundle) -> None:
    (artefact,) = bundle.artefacts
    for spinning in (True, False):
        with open_session(bundle, artefact, threads=2, spinning=spinning) as session:
            assert isinstance(session, OnnxSession)
            options = session._graphs[0][1]._loaded().get_session_options()
            entry = options.get_session_config_entry("session.intra_op.allow_spinning")
            assert entry == str(int(spinning))
