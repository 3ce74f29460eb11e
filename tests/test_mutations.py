"""Damaged bundles, checkpoints and text files: an error of ours, soon, in little memory."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from muqrt.cli.outputs.run_manifest import RunManifest
from muqrt.common.config import read_toml
from muqrt.export.sources.checkpoint import load_source
from muqrt.export.sources.head import load_tag_head
from muqrt.reference.rvq_file import RvqConfig, load_rvq, save_rvq
from muqrt.runtime.bundle.manifest import MANIFEST, load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.text.cache import TextCache
from muqrt.runtime.text.labels import LabelSet, read_labels

from .mutations import damaged, few_or_many, refused_or_read


def damage_one(folder: Path, names: list[str], chance: random.Random) -> Callable[[], None]:
    """Damage one of a folder's files; what is returned puts it right."""
    path = folder / chance.choice(names)
    data = path.read_bytes()
    path.write_bytes(damaged(data, chance))
    return lambda: path.write_bytes(data) and None


@few_or_many
def test_bundles(cases: int, tagged_copy: Path) -> None:
    names = [MANIFEST] * 9 + sorted(path.name for path in tagged_copy.iterdir())
    waveform = np.random.default_rng(0).uniform(-0.1, 0.1, 48_000).astype(np.float32)

    def try_one(chance: random.Random) -> None:
        repair = damage_one(tagged_copy, names, chance)
        try:
            bundle = load_bundle(tagged_copy)
            for artefact in bundle.artefacts:
                bundle.verify(artefact)
                bundle.size_bytes(artefact)
            # A certificate can be written by those who damage a bundle, too.
            trusted = chance.random() < 0.5
            with load(tagged_copy, threads=1, allow_uncertified=trusted) as model:
                model.embed(waveform, 24_000)
                model.tag(waveform, 24_000)
        finally:
            repair()

    before = sorted(tagged_copy.iterdir())
    counts = refused_or_read(cases, try_one)
    assert counts["refused"] > cases / 2
    assert sorted(tagged_copy.iterdir()) == before


@few_or_many
def test_checkpoints(
    cases: int, tiny_checkpoint: Path, mulan_checkpoint: Path, tiny_head: Path, tmp_path: Path
) -> None:
    muq = shutil.copytree(tiny_checkpoint, tmp_path / "muq")
    mulan = shutil.copytree(mulan_checkpoint, tmp_path / "mulan")
    head = shutil.copytree(tiny_head, tmp_path / "head")
    shape = RvqConfig(width=32, mean=0.0, std=1.0, stages=2, codes=16, code_width=4)
    save_rvq(shape.build(), shape, tmp_path / "rvq")
    loaders: list[tuple[Path, Callable[[Path], object]]] = [
        (muq, load_source),
        (mulan, load_source),
        (head, load_tag_head),
        (tmp_path / "rvq", load_rvq),
    ]

    def try_one(chance: random.Random) -> None:
        folder, loader = chance.choice(loaders)
        files = [path for path in folder.rglob("*") if path.is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in files)
        names += [name for name in names if name.endswith(".json")] * 4
        repair = damage_one(folder, names, chance)
        try:
            loader(folder)
        finally:
            repair()

    counts = refused_or_read(cases, try_one)
    assert counts["refused"] > cases / 3


TEXTS = {
    "labels.txt": "jazz piano\n小提琴\nchill\n" * 20,
    "options.toml": 'max_batch = 4\n[stream]\nmax_streams = 5\nname = "a"\n',
    "muqrt.json": '{"artefact_sha256": "%s", "kind": "tokens"}\n' % ("a" * 64),
}


@few_or_many
def test_text_files(cases: int, tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    cache = tmp_path / "texts.sqlite"
    TextCache(cache, "a").embed(["a", "b"], lambda texts: np.ones((len(texts), 4), np.float32))
    readers: dict[str, Callable[[Path], object]] = {
        "labels.txt": lambda path: LabelSet(tuple(dict.fromkeys(read_labels(path)))).texts,
        "options.toml": read_toml,
        "muqrt.json": lambda path: RunManifest(path.parent, "a" * 64, "tokens").check(),
        # What is damaged there is computed again.
        "texts.sqlite": lambda path: TextCache(path, "a").embed(
            ["a", "b"], lambda texts: np.ones((len(texts), 4), np.float32)
        ),
    }

    def try_one(chance: random.Random) -> None:
        name = chance.choice(list(readers))
        repair = damage_one(tmp_path, [name], chance)
        try:
            readers[name](tmp_path / name)
        finally:
            repair()

    refused_or_read(cases, try_one)
