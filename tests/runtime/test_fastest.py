"""The fastest artefact is measured once, and chosen among the accurate ones."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import BundleError, SessionError, UsageError
from muqrt.runtime import fastest as module
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle
from muqrt.runtime.fastest import FASTEST_FILE, fastest
from muqrt.runtime.load import load

SECONDS = {"onnx-fp32": 3.0, "quick": 1.0, "quicker": 0.5}


@pytest.fixture
def bundle(bundle_copy: Path) -> Bundle:
    """A bundle with three certified artefacts; the worst frame cosine of ``quicker`` is 0.9999991,
    that of the others 0.9999998."""
    loaded = load_bundle(bundle_copy)
    (first,) = loaded.artefacts
    artefacts = [first, *(first.model_copy(update={"name": each}) for each in ("quick", "quicker"))]
    certificates = []
    for each in artefacts:
        assert first.certificate is not None
        cosine = {"worst_frame_cosine": 0.9999991 if each.name == "quicker" else 0.9999998}
        found = [one.model_copy(update=cosine) for one in first.certificate.measurements]
        update = {"artefact_sha256": each.digest, "measurements": found}
        certificates.append(first.certificate.model_copy(update=update))
    for each, certificate in zip(artefacts, certificates, strict=True):
        each.certificate = certificate
    loaded.artefacts = artefacts
    loaded.save(bundle_copy)
    return load_bundle(bundle_copy)


class Measured:
    """Measures by the table, and counts."""

    def __init__(self, **failing: Exception) -> None:
        self.names: list[str] = []
        self.failing = failing

    def __call__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        waveform: np.ndarray,
        threads: int | None,
        device: str | None,
    ) -> float:
        assert waveform.shape == (1, 240_000) and waveform.dtype == np.float32
        self.names.append(artefact.name)
        if artefact.name in self.failing:
            raise self.failing[artefact.name]
        return SECONDS[artefact.name]


@pytest.mark.parametrize(
    ("accuracy", "chosen", "measured"),
    [
        (0.0, "quicker", ["onnx-fp32", "quick", "quicker"]),
        (0.9999995, "quick", ["onnx-fp32", "quick"]),
    ],
)
def test_the_fastest_accurate_one_is_chosen_and_remembered(
    bundle: Bundle, tmp_path: Path, accuracy: float, chosen: str, measured: list[str]
) -> None:
    measure, cache = Measured(), tmp_path / "cache" / FASTEST_FILE
    found = fastest(bundle, accuracy, cache=cache, measure=measure)
    assert (found.artefact, measure.names, found.remembered) == (chosen, measured, False)
    assert f"{chosen} is the fastest here" in found.why and "measured now" in found.why
    if accuracy:
        assert found.left_out == {"quicker": "worst frame cosine 0.9999991"}
        assert "quicker: worst frame cosine 0.9999991" in found.why
    again = fastest(bundle, accuracy, cache=cache, measure=measure)
    assert (again.artefact, again.seconds, again.remembered) == (chosen, found.seconds, True)
    assert measure.names == measured and "measured earlier" in again.why


def _other_threads(bundle: Bundle, patch: pytest.MonkeyPatch) -> int | None:
    patch.setattr(module, "given_cpus", lambda: None)
    patch.setattr(module, "bounded_threads", lambda threads: threads)
    return 77


def _other_processor(bundle: Bundle, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "cpu_name", lambda: "another")


def _other_gpus(bundle: Bundle, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "gpu_names", lambda: ["NVIDIA L4"])


def _other_engine(bundle: Bundle, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "installed", lambda package: "another version")


def _other_bytes(bundle: Bundle, patch: pytest.MonkeyPatch) -> None:
    quick = bundle.named("quick")
    quick.files[quick.file] = "0" * 64
    assert quick.certificate is not None
    quick.certificate = quick.certificate.model_copy(update={"artefact_sha256": quick.digest})


@pytest.mark.parametrize(
    "change", [_other_threads, _other_processor, _other_gpus, _other_engine, _other_bytes]
)
def test_what_decides_the_speed_is_measured_anew(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Bundle, pytest.MonkeyPatch], int | None],
) -> None:
    measure, cache = Measured(), tmp_path / FASTEST_FILE
    fastest(bundle, cache=cache, measure=measure)
    threads = change(bundle, monkeypatch)
    assert not fastest(bundle, threads=threads, cache=cache, measure=measure).remembered
    assert measure.names == [*SECONDS, *SECONDS]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"KEY": 1}',
        '{"KEY": {"seconds": {"quick": "x"}, "left_out": {}}}',
        '{"KEY": {"seconds": {"elsewhere": 0.1}, "left_out": {}}}',
    ],
)
def test_a_damaged_memory_is_measured_anew(bundle: Bundle, tmp_path: Path, text: str) -> None:
    measure, cache = Measured(), tmp_path / FASTEST_FILE
    fastest(bundle, cache=cache, measure=measure)
    (key,) = json.loads(cache.read_text())
    cache.write_text(text.replace("KEY", key))
    found = fastest(bundle, cache=cache, measure=measure)
    assert (found.artefact, found.remembered) == ("quicker", False)
    assert fastest(bundle, cache=cache, measure=measure).remembered


def test_a_memory_that_cannot_be_written_is_gone_without(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = fastest(bundle, cache=tmp_path / "file" / FASTEST_FILE, measure=Measured())
    assert found.artefact == "quicker"


def test_what_does_not_run_here_is_left_out(bundle: Bundle, tmp_path: Path) -> None:
    measure = Measured(quicker=SessionError("no bf16"))
    found = fastest(bundle, cache=tmp_path / FASTEST_FILE, measure=measure)
    assert found.artefact == "quick"
    assert found.left_out == {"quicker": "does not run here (no bf16)"}
    failing = Measured(**dict.fromkeys(SECONDS, SessionError("no engine")))
    with pytest.raises(BundleError, match=r"no artefact to choose from. onnx-fp32: does not run"):
        fastest(bundle, cache=tmp_path / "other.json", measure=failing)


def test_an_accuracy_that_none_has_is_refused_with_every_figure(bundle: Bundle) -> None:
    with pytest.raises(
        BundleError, match=r"quick: worst frame cosine 0.9999998; quicker: .* 0.9999991"
    ):
        fastest(bundle, 1.0, measure=Measured())
    with pytest.raises(UsageError, match=r"from 0 to 1"):
        fastest(bundle, 1.5, measure=Measured())


def test_the_only_artefact_is_not_measured(tiny_bundle: Path) -> None:
    measure = Measured()
    found = fastest(load_bundle(tiny_bundle), measure=measure)
    assert (found.artefact, found.seconds, measure.names) == ("onnx-fp32", {}, [])
    assert found.why == "onnx-fp32 is the only artefact to choose from."


def test_a_model_is_loaded_by_its_measured_speed(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    with load(bundle.folder, precision="auto", threads=1) as model:
        chosen = next(name for name in SECONDS if f"{name} is the fastest here" in caplog.text)
        assert model.session.artefact_sha256 == bundle.named(chosen).digest
    assert json.loads((tmp_path / "cache" / FASTEST_FILE).read_text())
    for given in ({"accuracy": 0.99}, {"precision": "int8"}):
        with pytest.raises(UsageError):
            load(bundle.folder, **given)
    with pytest.raises(UsageError, match="choose one"):
        load(bundle.folder, "quick", precision="auto")
