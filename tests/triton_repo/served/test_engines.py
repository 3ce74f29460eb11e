"""Models of engines that Triton has no backend for, on the real server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import ServerError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.contract.options import ServingOptions
from muqrt.triton_repo.repository.check import check_repository
from muqrt.triton_repo.repository.machine import Machine
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

pytestmark = pytest.mark.server

ENGINES = ("openvino", "torch")


@pytest.fixture(scope="module")
def engines_bundle(
    tiny_checkpoint: Path,
    tagged_bundle: Path,
    tiny_head: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tagged bundle with artefacts for OpenVINO and PyTorch in fp32, not certified."""
    import shutil

    from muqrt.export.bundle.recipe import add
    from muqrt.export.engines.openvino import OpenVinoRecipe
    from muqrt.export.engines.pytorch import TorchRecipe
    from muqrt.export.parity.proof import Proof
    from muqrt.export.sources.head import load_tag_head
    from muqrt.reference.checkpoint import load_checkpoint

    folder = shutil.copytree(tagged_bundle, tmp_path_factory.mktemp("engines") / "bundle")
    bundle, checkpoint = load_bundle(folder), load_checkpoint(tiny_checkpoint)
    head = load_tag_head(tiny_head)
    for recipe in (OpenVinoRecipe("fp32"), TorchRecipe("fp32")):
        add(bundle, recipe, Proof(checkpoint, head))
    return folder


@pytest.fixture(scope="module")
def models(engines_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "models"
    for engine in ENGINES:
        write_repository(
            load_bundle(engines_bundle),
            folder,
            f"{engine}-fp32",
            allow_uncertified=True,
            model_name=engine,
            options=ServingOptions(threads=1),
        )
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("engines") / "log"
    with Server(models, log=log, start_timeout_seconds=120) as running:
        yield running


@pytest.mark.parametrize("engine", ENGINES)
def test_served_answers_are_the_engines_own(
    server: Server, engines_bundle: Path, engine: str
) -> None:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 30_001)).astype(np.float32)
    with load(engines_bundle, f"{engine}-fp32", threads=1, allow_uncertified=True) as model:
        expected = model.session.run({"waveform": waveform})
    with TritonSession(server.grpc_url, engine) as session:
        found = session.run({"waveform": waveform})
        assert found.keys() == expected.keys() >= {"features", "tags"}
        for name, array in found.items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
        with pytest.raises(ServerError, match="not finite"):
            session.run({"waveform": np.full((1, 30_000), np.nan, np.float32)})


def test_the_check_knows_them(models: Path, engines_bundle: Path) -> None:
    bundle, machine = load_bundle(engines_bundle), Machine(None, ())
    found = check_repository(models, bundle, machine, allow_uncertified=True)
    assert [each.problems for each in found] == [[], []]
    script = models / "torch" / "1" / "model.py"
    text = script.read_text()
    try:
        script.write_text(text + "# changed")
        found = check_repository(models, bundle, machine, allow_uncertified=True)
        assert ["model.py has changed" in " ".join(each.problems) for each in found] == [
            False,
            True,
        ]
    finally:
        script.write_text(text)
