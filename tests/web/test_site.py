"""What ``muqrt web`` writes, without a browser."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import soxr

from muqrt.common.files import sha256
from muqrt.errors import BundleError, MissingDependencyError, UsageError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.web import site as site_module
from muqrt.web.filters import RATES_HZ, measured_filter
from muqrt.web.graph_weights import weight_ranges
from muqrt.web.loopback import serve_folder, url_of
from muqrt.web.site import write_site

WEB = Path(site_module.__file__).parent


def filtered(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """The naive sum that ``PolyphaseFilter`` defines."""
    found = measured_filter(rate_hz, 24_000)
    up, taps = found.rows.shape
    padded = np.concatenate([np.zeros(found.before), waveform, np.zeros(taps)])
    outputs = np.arange((2 * len(waveform) * up + found.down) // (2 * found.down))
    aligned, rows = np.divmod(outputs * found.down, up)
    summed = np.array(
        [found.rows[row] @ padded[i : i + taps] for i, row in zip(aligned, rows, strict=True)]
    )
    count, inputs = found.start.shape
    summed[:count] += found.start @ waveform[:inputs]
    return summed


@pytest.mark.parametrize(
    "rate_hz",
    [
        rate if rate in (8_000, 44_100, 48_000) else pytest.param(rate, marks=pytest.mark.full)
        for rate in RATES_HZ
    ],
)
def test_filters_are_soxrs(rate_hz: int) -> None:
    noise = np.random.default_rng(rate_hz).standard_normal(rate_hz // 4).astype(np.float32)
    expected = soxr.resample(noise, rate_hz, 24_000, quality="VHQ")
    found = filtered(noise, rate_hz)
    assert found.shape == expected.shape
    # A rounding step of float32 at the loudest sample.
    assert np.abs(found - expected).max() <= np.spacing(np.abs(expected).max())


@pytest.mark.parametrize("part", ["front-end", "encoder"])
def test_every_weight_that_a_graph_refers_to_is_found(part: str) -> None:
    onnx = pytest.importorskip("onnx")
    graph = SHIPPED_BUNDLE / f"muq-{part}.onnx"
    found = weight_ranges([graph])
    external = [
        {each.key: each.value for each in tensor.external_data}
        for tensor in onnx.load(graph, load_external_data=False).graph.initializer
        if tensor.external_data
    ]
    assert external
    for each in external:
        start, length = int(each["offset"]), int(each["length"])
        assert start in found[each["location"]]
        assert start + length <= found[each["location"]].stop
    assert found.keys() == {each["location"] for each in external}


@pytest.mark.full
def test_every_file_is_listed_with_its_hash_and_nothing_is_elsewhere(site: Path) -> None:
    document = json.loads((site / "model/site.json").read_text())

    def listed(value: object) -> list[dict]:
        if isinstance(value, dict) and "sha256" in value:
            return [value]
        values = value.values() if isinstance(value, dict) else value
        nested = isinstance(value, (dict, list))
        return [found for each in values for found in listed(each)] if nested else []

    files = listed(document)
    for each in files:
        path = (site / "model" / each["path"]).resolve()
        assert path.is_relative_to(site.resolve())
        assert (path.stat().st_size, sha256(path)) == (each["bytes"], each["sha256"])
    names = {(site / "model" / each["path"]).resolve() for each in files}
    for path in [*(site / "model").iterdir(), *(site / "runtime").iterdir()]:
        assert path.resolve() in names or path.name == "site.json"
    page = (site / "index.html").read_text()
    assert "Content-Security-Policy" in page
    example = 'placeholder="http://localhost:8080"'
    assert "http" not in page.replace("http-equiv", "").replace(example, "")


def test_what_cannot_become_a_site_is_told(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page"
    monkeypatch.setattr(site_module, "PAGE", page)
    with pytest.raises(MissingDependencyError, match="npm ci && npm run build"):
        write_site(load_bundle(SHIPPED_BUNDLE), tmp_path / "site")
    (page / "runtime").mkdir(parents=True)
    (page / "index.html").touch()
    with pytest.raises(BundleError, match="artefact 'other' is none that a browser runs"):
        write_site(load_bundle(SHIPPED_BUNDLE), tmp_path / "site", "other")
    with pytest.raises(BundleError, match="has no tags"):
        write_site(load_bundle(tiny_bundle), tmp_path / "site")
    assert not (tmp_path / "site").exists()
    for other in (tmp_path, page / "index.html"):  # a folder of something else, and a file
        with pytest.raises(UsageError, match=r"not \(only\) a site"):
            write_site(load_bundle(SHIPPED_BUNDLE), other)
    assert (page / "index.html").is_file()


def test_where_the_site_goes_has_to_be_said(muqrt: Callable) -> None:
    done = muqrt("web")
    assert done.returncode == 2
    assert "--output FOLDER, or --open" in done.stderr


def test_the_server_on_loopback(tmp_path: Path) -> None:
    import threading

    (tmp_path / "worker.js").write_text("1")
    with serve_folder(tmp_path) as server:
        with pytest.raises(UsageError, match="choose another with --port"):
            serve_folder(tmp_path, server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urlopen(f"{url_of(server)}worker.js") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
            assert answer.headers["Cache-Control"] == "no-cache"
        server.shutdown()


@pytest.mark.full
def test_the_npm_package(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or not (WEB / "dist" / "npm").is_dir():
        pytest.skip("the package is not built: make page")

    def run(*command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout

    packed = run(npm, "pack", "--silent", "--pack-destination", str(tmp_path), folder=WEB).strip()
    (tmp_path / "package.json").write_text('{"type": "module", "private": true}')
    run(npm, "install", "--offline", "--silent", f"./{packed}")
    (tmp_path / "use.ts").write_text(
        'import { load, type TrackTags } from "muqrt-web";\n'
        "export async function tags(file: File): Promise<TrackTags> {\n"
        '  return await (await load("model/")).tag(file);\n'
        "}\n"
    )
    run(
        str(WEB / "node_modules/.bin/tsc"),
        *("--noEmit", "--strict", "--module", "esnext", "--moduleResolution", "bundler"),
        *("--target", "es2022", "--skipLibCheck", "use.ts"),
    )
    code = 'import("muqrt-web").then(({ load }) => console.log(typeof load))'
    assert run("node", "-e", code).strip() == "function"
    assert (tmp_path / "node_modules/muqrt-web/dist/npm/worker.js").is_file()
