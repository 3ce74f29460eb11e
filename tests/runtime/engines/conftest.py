"""A bundle with an artefact for each engine, and what the engines are compared with."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.session import Session

AddArtefact = Callable[..., Path]


@pytest.fixture(scope="session")
def added(
    token_bundle: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> AddArtefact:
    """Makes a copy of the bundle with tokens that has a recipe's artefact too, uncertified."""
    from muqrt.export.bundle.recipe import add
    from muqrt.export.parity.proof import Proof
    from muqrt.export.sources.rvq import own_rvq
    from muqrt.reference.checkpoint import load_checkpoint

    def add_to_copy(recipe: object) -> Path:
        copy = shutil.copytree(token_bundle, tmp_path_factory.mktemp("engine") / "bundle")
        checkpoint = load_checkpoint(tiny_checkpoint)
        add(load_bundle(copy), recipe, Proof(checkpoint, rvq=own_rvq(checkpoint)))
        return copy

    return add_to_copy


@pytest.fixture(scope="session")
def openvino_folder(added: AddArtefact) -> Path:
    """The bundle with tokens and with an fp32 artefact for OpenVINO. Do not change its files."""
    pytest.importorskip("openvino", reason="pip install 'muqrt[openvino]'")
    from muqrt.export.engines.openvino import OpenVinoRecipe

    return added(OpenVinoRecipe("fp32"))


@pytest.fixture(scope="session")
def torch_folder(added: AddArtefact) -> Path:
    """The bundle with tokens and with an fp32 artefact for PyTorch. Do not change its files."""
    pytest.importorskip("torch", reason="pip install 'muqrt[torch]'")
    from muqrt.export.engines.pytorch import TorchRecipe

    return added(TorchRecipe("fp32"))


@pytest.fixture(scope="session")
def onnx_session(token_bundle: Path) -> Iterator[Session]:
    """The bundle with tokens in ONNX Runtime."""
    bundle = load_bundle(token_bundle)
    with OnnxSession(bundle, bundle.artefact(), threads=1) as session:
        yield session
