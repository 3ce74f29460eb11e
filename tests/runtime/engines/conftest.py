"""Bundles to which another engine's artefact was added, and what they are compared with."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.session import Session


@pytest.fixture(scope="session")
def openvino_folder(
    token_bundle: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle with tokens, to which an fp32 artefact for OpenVINO was added, uncertified."""
    pytest.importorskip("openvino", reason="pip install 'muqrt[openvino]'")
    from muqrt.export.engines.openvino import add_openvino
    from muqrt.reference.checkpoint import load_checkpoint

    copy = shutil.copytree(token_bundle, tmp_path_factory.mktemp("openvino") / "bundle")
    add_openvino(load_bundle(copy), load_checkpoint(tiny_checkpoint), [], "fp32")
    return copy


@pytest.fixture(scope="session")
def torch_folder(
    token_bundle: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle with tokens, to which an fp32 artefact for PyTorch was added, uncertified."""
    pytest.importorskip("torch", reason="pip install 'muqrt[torch]'")
    from muqrt.export.engines.pytorch import add_torch
    from muqrt.export.sources.rvq import own_rvq
    from muqrt.reference.checkpoint import load_checkpoint

    copy = shutil.copytree(token_bundle, tmp_path_factory.mktemp("torch") / "bundle")
    checkpoint = load_checkpoint(tiny_checkpoint)
    add_torch(load_bundle(copy), checkpoint, [], "fp32", rvq=own_rvq(checkpoint))
    return copy


@pytest.fixture(scope="session")
def onnx_session(token_bundle: Path) -> Iterator[Session]:
    """The bundle with tokens in ONNX Runtime."""
    bundle = load_bundle(token_bundle)
    with OnnxSession(bundle, bundle.artefact(), threads=1) as session:
        yield session
