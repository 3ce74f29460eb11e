"""Where answers come from: bundles as they are, checkpoints exported once."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from muqrt.drop_in import MuQ, MuQMuLan
from muqrt.errors import BundleError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.artefact import HalfRecipe
from muqrt.export.sources.checkpoint import load_source
from muqrt.runtime.bundle.manifest import load_bundle

from .conftest import GOLDEN, checkpoint_of

CHECKPOINT = GOLDEN / "label_rate_25"


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0)) / 10


@pytest.fixture
def bundle(model: MuQ, tmp_path: Path) -> Path:
    """A copy of an exported bundle."""
    assert model._backing is not None
    return shutil.copytree(model._backing.bundle, tmp_path / "bundle")


def test_a_checkpoint_is_exported_once(
    model: MuQ, x: Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(CHECKPOINT, tmp_path / "elsewhere")
    capfd.readouterr()
    again = MuQ.from_pretrained(copied, threads=1)
    assert again._backing.bundle == model._backing.bundle  # the same weights
    assert "exporting" not in capfd.readouterr().err
    assert torch.equal(again(x).last_hidden_state, model(x).last_hidden_state)
    bundle = load_bundle(model._backing.bundle)
    assert all(each.certified for each in bundle.artefacts)
    measured = bundle.artefacts[0].certificate.measurements
    levels = {each.audio.rpartition(", ")[2] for each in measured}
    assert {f"level {level}" for level in range(model.config.encoder_depth + 1)} <= levels


def test_several_at_once_export_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path))
    with ThreadPoolExecutor(3) as pool:
        models = list(pool.map(MuQ.from_pretrained, [CHECKPOINT] * 3))
    assert capfd.readouterr().err.count("exporting it once") == 1
    assert len({each._backing.bundle for each in models}) == 1


def test_a_bundle_is_used_as_it_is(bundle: Path, model: MuQ, x: Tensor, tmp_path: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in bundle.iterdir())
    found = MuQ.from_pretrained(bundle, threads=1)
    assert torch.equal(found(x).hidden_states[2], model(x).hidden_states[2])
    assert found.config.encoder_depth == model.config.encoder_depth
    assert found.config.stat == {**found.config.stat, **model.config.stat}
    assert sorted(path.stat().st_mtime_ns for path in bundle.iterdir()) == before
    # Its checkpoint is where it was.
    assert found.state_dict().keys() == model.state_dict().keys()


def test_a_bundle_of_one_level(
    tiny_checkpoint: Path, tiny_bundle: Path, bundled: object, x: Tensor
) -> None:
    deepest = MuQ.from_pretrained(tiny_bundle)
    levels = MuQ.from_pretrained(tiny_checkpoint)(x)
    assert torch.allclose(deepest(x).last_hidden_state, levels.last_hidden_state, atol=1e-5)
    sixth = MuQ.from_pretrained(bundled(tiny_checkpoint, "sixth", level=6))(x)
    assert torch.allclose(sixth.hidden_states[6], levels.hidden_states[6], atol=1e-5)
    assert len(sixth.hidden_states) == 13
    for other in (5, -1):
        with pytest.raises(BundleError, match=r"gives level 6 and not .* --levels"):
            sixth.hidden_states[other]
    with pytest.raises(BundleError, match="takes no masks"):
        deepest(x, torch.zeros(1, 24_000))


def test_a_bundle_of_the_levels_below_one(
    tiny_checkpoint: Path, levels_bundle: Path, bundled: object, x: Tensor
) -> None:
    found = MuQ.from_pretrained(bundled(tiny_checkpoint, "six", level=6, levels=True), threads=1)(x)
    theirs = MuQ.from_pretrained(levels_bundle, threads=1)(x)
    assert len(found.hidden_states) == len(theirs.hidden_states) == 13
    assert torch.allclose(found.hidden_states[6], theirs.hidden_states[6], atol=1e-5)
    for ask in (lambda: found.last_hidden_state, lambda: found.hidden_states[7]):
        with pytest.raises(BundleError, match=r"gives levels 0 to 6 and not \d+\. .* without --l"):
            ask()


def test_a_named_artefact(bundle: Path) -> None:
    with pytest.raises(BundleError, match="no artefact 'onnx-int8'; it has: onnx-fp32"):
        MuQ.from_pretrained(bundle, artefact="onnx-int8")
    assert MuQ.from_pretrained(bundle, artefact="onnx-fp32").dtype == torch.float32


def test_half_chooses_the_artefact(bundle: Path, x: Tensor, recording: Tensor) -> None:
    music = [Excerpt("recording", recording[None].numpy())]
    loaded = load_bundle(bundle)
    add(loaded, HalfRecipe("fp16"), Proof(load_source(CHECKPOINT), music=music))
    found = MuQ.from_pretrained(bundle, threads=1)
    expected, unasked = found(x).hidden_states[2], found(x)
    half = found.half()(x.half()).hidden_states[2]
    assert half.dtype == torch.float16 and found.dtype == torch.float16
    difference = (half.float() - expected).norm() / expected.norm()
    assert 1e-5 < difference < 2e-2
    assert torch.equal(unasked.hidden_states[2], expected)  # by what it was asked of
    mask = torch.ones(1, 24_000)
    mask[:, 12_000:] = 0
    masked = found(x, mask).hidden_states[2][:, :12]
    expected = found.float()(x, mask).hidden_states[2][:, :12]
    assert (masked.float() - expected).norm() / expected.norm() < 2e-2


def test_weights_from_memory(model: MuQ, x: Tensor) -> None:
    state = load_file(CHECKPOINT / "model.safetensors")
    made = MuQ(vars(model.config))
    assert made.load_state_dict(state).missing_keys == []
    assert torch.equal(made(x).last_hidden_state, model(x).last_hidden_state)
    ours = made.state_dict()
    assert ours.keys() == state.keys() and all(torch.equal(ours[n], state[n]) for n in state)


def test_towers_from_memory(joint: MuQMuLan, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint_of("mulan_plain")
    monkeypatch.chdir(folder)  # where the encoders' folders are
    made = MuQMuLan(asdict(joint.config))
    made.load_state_dict(load_file(folder / "model.safetensors"))
    texts = ["piano", "a slow song with a violin"]
    assert torch.equal(made(texts=texts), joint(texts=texts))
    assert (made.sr, made.clip_secs) == (joint.sr, joint.clip_secs)


def test_encoders_are_looked_for_beside_their_checkpoint(
    joint: MuQMuLan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there are none
    made = MuQMuLan.from_pretrained(checkpoint_of("mulan_plain"), threads=1)
    assert made.load_state_dict(joint.state_dict()).missing_keys == []
    assert torch.equal(made(texts="piano"), joint(texts="piano"))
    of_bundle = MuQMuLan.from_pretrained(joint._backing.bundle, threads=1)
    with pytest.raises(UsageError, match="Give from_pretrained the checkpoint, or MuQMuLan a MuQM"):
        of_bundle.load_state_dict(joint.state_dict())


@pytest.mark.parametrize("name", ["../../../muq", "muq/../../muq", "config.json", "."])
def test_no_file_is_written_out_of_the_cache(
    name: str, joint: MuQMuLan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration from a stranger: its encoder is there, and leads elsewhere."""
    source, work = checkpoint_of("mulan_plain"), tmp_path / "a" / "b" / "c" / "d"
    (work / "muq").mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path / "cache"))
    found = asdict(joint.config)
    (work / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(source / found["audio_model"]["name"] / "config.json", work / name)
    shutil.copytree(source / found["text_model"]["name"], work / found["text_model"]["name"])
    found["audio_model"]["name"] = name
    with pytest.raises(RuntimeError, match="its configuration would not be written into"):
        MuQMuLan(found).load_state_dict(joint.state_dict())
    assert not (tmp_path / "cache").exists()


def test_weights_that_do_not_fit_are_not_kept(
    model: MuQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path))
    state = model.state_dict()
    state.pop(next(iter(state)))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="missing: "):
            MuQ(vars(model.config)).load_state_dict(state)
    assert not [*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("config.json")]


def test_a_muq_has_no_texts(bundle: Path) -> None:
    with pytest.raises(BundleError, match="shares no space with texts"):
        MuQMuLan.from_pretrained(bundle)
    moved = load_bundle(bundle)
    moved.source.checkpoint = "nowhere"
    moved.save(bundle)
    with pytest.raises(UsageError, match="Give from_pretrained the checkpoint"):
        MuQ.from_pretrained(bundle).state_dict()


SCRIPT = """
import sys
from pathlib import Path
import torch
from muq import MuQ, MuQMuLan
import muq.muq_mulan
from neighbour import SECONDS
assert __name__ == "__main__" and Path(sys.argv[0]).name == "script.py"
muq = MuQ.from_pretrained(sys.argv[1]).to("cpu").eval()
with torch.no_grad():
    output = muq(torch.zeros(1, 24_000 * SECONDS), output_hidden_states=True)
print("Total number of layers:", len(output.hidden_states), *output.last_hidden_state.shape)
"""


def test_a_script_runs_unmodified(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "neighbour.py").write_text("SECONDS = 1\n")
    command = [sys.executable, "-m", "muqrt.drop_in", "script.py", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Total number of layers: 13 1 25 16\n"
    plain = subprocess.run(
        [sys.executable, *command[3:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert "No module named 'muq'" in plain.stderr


def test_no_script(tmp_path: Path) -> None:
    for arguments, code in ((["none.py"], 2), ([], 2), (["--help"], 0)):
        command = [sys.executable, "-m", "muqrt.drop_in", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code
        assert "python -m muqrt.drop_in [--artefact NAME] SCRIPT" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_install_inside_a_process() -> None:
    code = """
import muqrt.drop_in
import sys
muqrt.drop_in.install()
muqrt.drop_in.install()
import muq.muq.muq
assert "torch" not in sys.modules
from muq import MuQ, MuQMuLan, MuQConfig
assert MuQ is muqrt.drop_in.MuQ is muq.muq.muq.MuQ
try:
    from muq import Nothing
except ImportError as error:
    assert "Nothing" in str(error)
else:
    raise AssertionError
from importlib.util import find_spec
assert find_spec("muq").name == "muq" and find_spec("muq.muq.muq").name == "muq.muq.muq"
sys.modules["muq"] = type(sys)("muq")
try:
    muqrt.drop_in.install()
except muqrt.UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "call muqrt.drop_in.install() first" in done.stdout, done.stderr
