"""The live model in a repository: self-contained, hash-checked when it is loaded, or refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError, MuqrtError, UsageError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.load import open_bundle
from muqrt.runtime.streaming.engine import Streaming
from muqrt.triton_repo.contract.config import parameters_of, parse_config
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.repository.write import write_stream_repository
from muqrt.triton_repo.serving.live_streams import StreamChunk
from muqrt.triton_repo.serving.load import load_streams

ENGINE = ["muq-encoder.onnx", "muq-front-end.onnx", "muq.onnx"]
FILES = [
    "muq_stream/1/bundle.json",
    "muq_stream/1/model.py",
    *(f"muq_stream/1/{name}" for name in ENGINE),
    "muq_stream/config.pbtxt",
]


def parameters(repository: Path) -> dict[str, str]:
    return parameters_of(parse_config((repository / "muq_stream" / "config.pbtxt").read_text()))


@pytest.fixture
def repository(tagged_bundle: Path, tmp_path: Path) -> Path:
    """A repository with the model; its files are a test's own."""
    write_stream_repository(load_bundle(tagged_bundle), tmp_path / "models")
    return Path(shutil.copytree(tmp_path / "models", tmp_path / "copied"))


def test_a_version_is_a_bundle_with_its_model(tagged_bundle: Path, tmp_path: Path) -> None:
    report = write_stream_repository(load_bundle(tagged_bundle), tmp_path)
    assert report.files == FILES
    assert report.certified
    version = tmp_path / "muq_stream" / "1"
    for name in ENGINE:
        assert (version / name).samefile(tagged_bundle / name)
    served, (original, *_) = load_bundle(version), load_bundle(tagged_bundle).artefacts
    assert [each.digest for each in served.artefacts] == [original.digest]
    assert served.artefacts[0].certified
    # Again, over what is there.
    assert write_stream_repository(load_bundle(tagged_bundle), tmp_path) == report


def test_it_needs_nothing_outside_and_answers_as_the_bundle(
    repository: Path, tagged_bundle: Path
) -> None:
    streams, tags = load_streams(repository / "muq_stream" / "1", parameters(repository))
    assert tags == 6
    audio = np.random.default_rng(0).normal(scale=0.1, size=100_000).astype(np.float32)
    (hops,) = streams.advance([StreamChunk(1, audio, starts=True, ends=True)])
    with open_bundle(tagged_bundle) as session:
        streaming = Streaming(session)
        stream = streaming.open()
        expected = streaming.push(stream, audio) + streaming.finish(stream)
    assert isinstance(hops, list)
    assert [hop.end_seconds for hop in hops] == [hop.end_seconds for hop in expected]
    assert len(hops) == 6
    for ours, theirs in zip(hops, expected, strict=True):
        np.testing.assert_allclose(ours.outputs["tags"], theirs.outputs["tags"], atol=1e-5)


def test_options_reach_the_streams(tagged_bundle: Path, tmp_path: Path) -> None:
    options = StreamOptions(max_streams=1, hop_seconds=0.25, window_seconds=1.0, threads=1)
    write_stream_repository(load_bundle(tagged_bundle), tmp_path, options=options)
    streams, _ = load_streams(tmp_path / "muq_stream" / "1", parameters(tmp_path))
    audio = np.zeros(48_000, np.float32)
    hops, refused = streams.advance(
        [StreamChunk(1, audio, starts=True), StreamChunk(2, audio, starts=True)]
    )
    assert isinstance(hops, list)
    ends = [hop.end_seconds for hop in hops]
    assert ends == pytest.approx([1.0, 1.25, 1.5, 1.75, 2.0], abs=0.04)
    assert "1 of 1" in str(refused)


@pytest.mark.parametrize("name", ENGINE)
def test_a_changed_byte_is_not_loaded(repository: Path, name: str) -> None:
    file = repository / "muq_stream" / "1" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} has changed"):
        load_streams(file.parent, parameters(repository))


def test_a_bundle_that_is_not_the_configurations_is_not_loaded(repository: Path) -> None:
    changed = {**parameters(repository), "muqrt.artefact_sha256": "0" * 64}
    with pytest.raises(BundleError, match=r"not the one that config\.pbtxt was written for"):
        load_streams(repository / "muq_stream" / "1", changed)


@pytest.mark.parametrize("lost", ["muqrt.sliding", "muqrt.options"])
def test_a_configuration_of_something_else_is_refused(repository: Path, lost: str) -> None:
    changed = parameters(repository)
    del changed[lost]
    with pytest.raises(BundleError, match=f"not written by this version of muqrt.*{lost}"):
        load_streams(repository / "muq_stream" / "1", changed)


def test_a_bundle_without_tags_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="--head"):
        write_stream_repository(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_an_artefact_without_a_certificate_must_be_forced(
    tagged_copy: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(tagged_copy)
    bundle.artefacts[0].certificate = None
    with pytest.raises(BundleError, match="no passing parity certificate"):
        write_stream_repository(bundle, tmp_path / "models")
    report = write_stream_repository(bundle, tmp_path / "models", allow_uncertified=True)
    assert not report.certified
    load_streams(tmp_path / "models" / "muq_stream" / "1", parameters(tmp_path / "models"))


@pytest.mark.parametrize(
    "options", [StreamOptions(hop_seconds=5), StreamOptions(hop_seconds=0.001)]
)
def test_a_hop_that_does_not_fit_is_refused(
    tagged_bundle: Path, tmp_path: Path, options: StreamOptions
) -> None:
    with pytest.raises(UsageError, match="hop"):
        write_stream_repository(load_bundle(tagged_bundle), tmp_path / "models", options=options)
    assert not (tmp_path / "models").exists()


def test_a_changed_bundle_or_somebody_elses_folder_is_left_alone(
    tagged_copy: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "models" / "muq_stream" / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    with pytest.raises(UsageError, match="muqrt did not write it"):
        write_stream_repository(load_bundle(tagged_copy), tmp_path / "models")
    (tagged_copy / "muq.onnx").write_bytes(b"changed")
    with pytest.raises(MuqrtError, match=r"muq\.onnx has changed"):
        write_stream_repository(load_bundle(tagged_copy), tmp_path / "other")
    assert sha256(theirs)
    assert sorted(tmp_path.glob("*/muq_stream/*")) == [theirs]
