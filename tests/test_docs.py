"""The site builds strictly; pages name commands, options, files and targets that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .import_graph import children_graph, module_graph

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BESIDE_CODE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")]
BESIDE_CODE += [ROOT / "kernels" / "README.md", *ROOT.glob("reference/checkpoints/*/README.md")]
EVERY_PAGE = [*PAGES, *BESIDE_CODE]


def build(source: Path, output: Path) -> "subprocess.CompletedProcess[str]":
    """Build the site as ``make docs`` does."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, output]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path).with_suffix(".md") for path in tmp_path.rglob("*.html")}
    assert {path.relative_to(DOCS) for path in PAGES} <= pages
    html = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html"))
    assert "PyTorch eager" in html, "the measurements are included"
    fetched = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)", html)
    assert not fetched, "a page can be read without a network"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[gone](no-such-page.md)", "no-such-page.md"),
        ("[gone](page.md#no-such-heading)", "no-such-heading"),
        ("```{include} no-such-file.md\n```", "no-such-file.md"),
    ],
)
def test_what_is_dead_fails(line: str, complaint: str, tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    source = tmp_path / "docs"
    source.mkdir()
    for name in ("conf.py", "extension.py"):
        shutil.copy(DOCS / name, source)
    (source / "index.md").write_text(f"# Home\n\n{line}\n\n```{{toctree}}\npage\n```\n", "utf-8")
    (source / "page.md").write_text("# Page\n", "utf-8")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    folders = "|".join(path.parent.name for path in ROOT.glob("*/__init__.py"))
    named = re.findall(rf"`((?:{folders}|tests|docs|deploy|examples)/[\w./-]+)`", text)
    places = (ROOT, page.parent)
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert not missing


@pytest.mark.parametrize("page", BESIDE_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_beside_the_code_links_to_what_exists(page: Path) -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def make_targets() -> list[str]:
    """The targets that pages name."""
    texts = (page.read_text(encoding="utf-8") for page in EVERY_PAGE)
    return sorted({name for text in texts for name in re.findall(r"`?\bmake ([a-z]+)\b`", text)})


@pytest.mark.parametrize("target", make_targets())
def test_every_make_target_exists(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_picture_of_the_packages_is_true() -> None:
    """Every arrow is an import, and every import between packages is on a path of arrows."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"digraph packages \{(.*?)\n\}", page, re.DOTALL)
    arrows = re.findall(r"(\w+) -> (\w+)", picture)
    packages = {name for arrow in arrows for name in arrow}
    imports = children_graph(module_graph(ROOT), "")
    reached = {name: {name} for name in packages}
    for _ in packages:
        for start, end in arrows:
            reached[start] |= reached[end]
    assert packages == {path.parent.name for path in ROOT.glob("*/__init__.py")}
    for start, end in arrows:
        assert end in imports[start]
    for name in packages:
        assert imports[name] & packages <= reached[name]
