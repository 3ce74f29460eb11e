"""Which module of a package imports which, read from the sources: no import is run.

Imports under ``TYPE_CHECKING`` and inside functions count as any other.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]


def sources(root: Path) -> list[Path]:
    """Every module of the package."""
    folders = [path.parent for path in sorted(root.glob("*/__init__.py"))]
    found = [*root.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    # What the server runs belongs to the server, and tests are outsiders.
    return [
        path
        for path in found
        if "backends" not in path.relative_to(root).parts
        and not path.name.startswith(("test_", "conftest", "setup"))
    ]


def module_graph(root: Path) -> dict[str, set[str]]:
    """Every module, as its path below the root with dots, and those it imports."""
    names = {_name(root, path): path for path in sources(root)}
    return {name: set(_imported(root, names, path)) - {name} for name, path in names.items()}


def children_graph(graph: Graph, package: str) -> dict[str, set[str]]:
    """What a package's modules and sub-packages import of each other; "" is the root."""
    children: dict[str, set[str]] = defaultdict(set)
    for module, imported in graph.items():
        for other in imported:
            a, b = _child(module, package), _child(other, package)
            if a and b and a != b:
                children[a].add(b)
    return children


def packages(graph: Graph) -> set[str]:
    """Every package that has modules below it; "" is the root."""
    return {
        ".".join(name.split(".")[:depth]) for name in graph for depth in range(name.count(".") + 1)
    }


def circle(graph: Graph) -> list[str]:
    """The names along one circle, the first again at its end; empty where there is none."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := search(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := search(name, []))), [])


def _name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _imported(root: Path, names: Mapping[str, Path], path: Path) -> Iterator[str]:
    inside = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
            module = ".".join(filter(None, base))
            for alias in node.names:
                # "from . import x" names a module x, "from .x import y" may name either.
                submodule = ".".join(filter(None, (module, alias.name)))
                yield submodule if submodule in names else module


def _child(module: str, package: str) -> str:
    """The child of ``package`` that a module lies in; empty where it does not, or is its init."""
    if package and not module.startswith(f"{package}."):
        return ""
    return module[len(package) :].lstrip(".").split(".")[0]
