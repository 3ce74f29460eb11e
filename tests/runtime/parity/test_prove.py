"""A bundle proves itself with the answers it has stored: no torch, no checkpoint."""

import io
import json
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.parity.prove import covered, prove
from muqrt.runtime.parity.stored import Answers, save_arrays

from ...mutations import damaged, few_or_many, refused_or_read

Command = Callable[..., CompletedProcess[str]]

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "safetensors", "huggingface_hub"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
"""


def with_answers(folder: Path, data: bytes) -> Path:
    """Replace a bundle's stored answers, and their hash."""
    bundle = load_bundle(folder)
    assert bundle.answers is not None
    (folder / bundle.answers.file).write_bytes(data)
    found = bundle.answers.model_copy(update={"sha256": sha256(folder / bundle.answers.file)})
    bundle.model_copy(update={"answers": found}).save(folder)
    return folder


def test_without_torch_and_checkpoint(tagged_copy: Path) -> None:
    bundle = load_bundle(tagged_copy)
    bundle.artefacts[0].certificate = None
    bundle.save(tagged_copy)
    command = ["muqrt", "parity", str(tagged_copy), "--verbose", "--json"]
    code = f"{BLOCKED}\nsys.argv = {command}\nfrom muqrt.cli.app import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["here"]["ms_per_second"]["onnx-fp32"] > 0
    assert facts["here"]["peak_memory_mb"] > 20
    (artefact,) = load_bundle(tagged_copy).artefacts
    assert artefact.certified and artefact.certificate is not None
    assert artefact.certificate.reference.endswith("its answers stored in the bundle")


@pytest.mark.parametrize("name", ["tagged_bundle", "token_bundle", "mulan_bundle"])
def test_the_figures_are_those_of_the_checkpoint(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = load_bundle(shutil.copytree(request.getfixturevalue(name), tmp_path / "copy"))
    before = [each.certificate for each in bundle.artefacts]
    prove(bundle, Answers(bundle))
    for artefact, theirs in zip(bundle.artefacts, before, strict=True):
        assert artefact.certified and artefact.certificate is not None and theirs is not None
        ours = artefact.certificate.measurements
        assert [(each.audio, each.output) for each in ours] == [
            (each.audio, each.output) for each in theirs.measurements
        ]
        for one, other in zip(ours, theirs.measurements, strict=True):
            for figure, value in one.model_dump(exclude={"audio", "output"}).items():
                assert value == pytest.approx(getattr(other, figure), rel=1e-6, abs=1e-9), figure


def test_a_wrong_answer_fails(muqrt: Command, tagged_copy: Path) -> None:
    stored = dict(np.load(tagged_copy / "parity-answers.npz"))
    stored["0/features/expected"] = stored["0/features/expected"] * np.float32(1.01)
    written = io.BytesIO()
    np.savez(written, **stored)
    done = muqrt("parity", with_answers(tagged_copy, written.getvalue()))
    assert done.returncode == 1 and "not the reference's numbers: onnx-fp32" in done.stderr
    assert not load_bundle(tagged_copy).artefacts[0].certified


@pytest.mark.parametrize("file", ["muq.onnx", "parity-answers.npz"])
def test_a_flipped_bit_is_found(muqrt: Command, tagged_copy: Path, file: str) -> None:
    data = bytearray((tagged_copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (tagged_copy / file).write_bytes(data)
    done = muqrt("parity", tagged_copy)
    assert done.returncode == 3 and f"{file} has changed since it was exported" in done.stderr


def test_a_bundle_of_before_says_what_to_do(muqrt: Command, tagged_copy: Path) -> None:
    bundle = load_bundle(tagged_copy)
    bundle.answers = None
    bundle.save(tagged_copy)
    assert "answers" not in json.loads((tagged_copy / "bundle.json").read_text())
    done = muqrt("parity", tagged_copy)
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "holds no answers of the reference" in done.stderr
    assert f"muqrt parity {tagged_copy} --checkpoint CHECKPOINT" in done.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--music", "song.flac"], "--music goes with --checkpoint"),
        (["--layers"], "--layers needs --checkpoint"),
        (["--layers", "--checkpoint", "x", "--artefact", "onnx-fp32"], "leave out --artefact"),
        (["--artefact", "none"], "no artefact 'none'; it has: onnx-fp32"),
    ],
)
def test_options_that_do_not_go_together(
    muqrt: Command, tagged_bundle: Path, options: list[str], why: str
) -> None:
    done = muqrt("parity", tagged_bundle, *options)
    assert done.returncode in (2, 3) and why in " ".join(done.stderr.split())


def _hostile(header: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose first waveform has this header."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        text = header.encode() + b"\n"
        member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
        archive.writestr("0/waveform.npy", member)
    return written.getvalue()


def _lying(place: int, value: bytes) -> bytes:
    """The same with other bytes in the archive's directory."""
    data = bytearray(_hostile(SMALL, b"\0" * 8))
    entry = data.index(b"PK\x01\x02") + place
    data[entry : entry + len(value)] = value
    return bytes(data)


HUGE = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 1099511627776), }"
PICKLED = "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"
SMALL = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 4), }"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_hostile(HUGE, b"\0" * 64), "cannot be read"),
        (_hostile(PICKLED, b"\0" * 64), "cannot be read"),
        (_hostile(SMALL, b"\0" * 8, zipfile.ZIP_DEFLATED), "it is compressed"),
        (_lying(8, b"\x01"), "or encrypted"),
        (_lying(24, b"\xff\xff\xff\x7f"), "is said to have 2147483647 bytes"),
        (_lying(20, b"\xff\xff\xff\x7f" * 2), "is said to have 2147483647 bytes"),
        (_hostile("not a header", b""), "cannot be read"),
        (b"not an archive", "not stored answers"),
    ],
)
def test_a_strangers_file_is_refused(tagged_copy: Path, data: bytes, why: str) -> None:
    bundle = load_bundle(with_answers(tagged_copy, data))
    with pytest.raises(BundleError, match=why):
        prove(bundle, Answers(bundle))


@few_or_many
def test_damaged_answers_are_refused_or_read(cases: int, tagged_copy: Path) -> None:
    """A stranger can write the hash, too."""
    data = (tagged_copy / "parity-answers.npz").read_bytes()

    def try_one(chance: random.Random) -> None:
        bundle = load_bundle(with_answers(tagged_copy, damaged(data, chance)))
        answers = Answers(bundle)
        for index in range(len(answers.record.audio)):
            answers.waveform(index)
            for output in ("features", "embedding", "tags"):
                answers.arrays(f"{index}/{output}")

    assert refused_or_read(cases, try_one)["refused"] > cases / 4


def test_answers_of_another_model_do_not_fit(tagged_copy: Path) -> None:
    stored = dict(np.load(tagged_copy / "parity-answers.npz"))
    del stored["0/waveform"]
    narrow = {name: each[..., :7] for name, each in stored.items() if "features" in name}
    for changed in (stored, stored | {"0/waveform": np.zeros((1, 24_000), np.int16)} | narrow):
        written = io.BytesIO()
        np.savez(written, **changed)
        bundle = load_bundle(with_answers(tagged_copy, written.getvalue()))
        with pytest.raises(BundleError, match="stored answers and onnx-fp32 do not fit together"):
            prove(bundle, Answers(bundle))


@pytest.mark.parametrize(
    ("name", "gone", "why"),
    [
        ("tagged_bundle", "/tags/", "holds no answers for tags; export the bundle again"),
        ("mulan_bundle", "texts/", "holds no answers for texts"),
        ("token_bundle", "/bias", "the manifest do not fit together .KeyError"),
    ],
)
def test_no_output_goes_unproven(
    name: str, gone: str, why: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = shutil.copytree(request.getfixturevalue(name), tmp_path / "copy")
    stored = dict(np.load(folder / "parity-answers.npz"))
    kept = {name: each for name, each in stored.items() if gone not in name}
    assert len(kept) < len(stored)
    written = io.BytesIO()
    np.savez(written, **kept)
    bundle = load_bundle(with_answers(folder, written.getvalue()))
    with pytest.raises(BundleError, match=why):
        prove(bundle, Answers(bundle))


def test_a_bundle_can_be_without_answers(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, music: Path
) -> None:
    command = ["export", tiny_checkpoint, "-o", tmp_path / "bundle", "--no-answers"]
    done = muqrt(*command, "--music", music / "greensleeves_duo.flac", "--window-seconds", "1")
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "bundle").answers is None
    assert not (tmp_path / "bundle" / "parity-answers.npz").exists()


def test_equal_answers_are_equal_bytes(tmp_path: Path) -> None:
    arrays = {"0/waveform": np.arange(5, dtype=np.int16), "0/features/expected": np.eye(3)}
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("batch", "samples", "rows"),
    [(1, 24_000, 2), (3, 24_000, 3), (9, 24_000, 4), (1, 23_999, 0), (1, 48_001, 0)],
)
def test_rows_are_repeated_or_left_out_for_an_engine(batch: int, samples: int, rows: int) -> None:
    options = EngineOptions(profiles=(Profile(window_seconds=(1, 1, 2), batch=(2, 2, 4)),))
    assert covered(options, batch, samples) == rows
