"""Lint the project's English: pages, docstrings, help texts and error messages.

``python tests/prose.py FILE...`` prints what proselint and the project's own rules find, one
finding a line, and exits with 1 if there is any.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proselint.checks import __register__ as checks_of_proselint
from proselint.registry.checks import Check, types

# Those of proselint that fit technical English. The others are about typography, dates and taste.
FAMILIES = (
    "archaism",
    "cliches",
    "hedging",
    "industrial_language",
    "malapropisms",
    "misc.apologizing",
    "misc.metadiscourse",
    "misc.pretension",
    "mixed_metaphors",
    "mondegreens",
    "needless_variants",
    "nonwords",
    "oxymorons",
    "redundancy",
    "weasel_words",
)
# Words and turns that this project's texts avoid, and what to write instead.
AVOIDED = {
    r"whoever": "name who does it",
    r"whosoever|whomever": "name who does it",
    r"nobody|no one": "say what does not happen",
    r"as everywhere": "say what it is: a docstring stands alone",
    r"(?:it|model|tower|artefact|what|that|who) hears": "say audio model, or listens",
    r"of everything": "name it",
    r"is told apart": "is distinguished",
    r"there is nothing to": "say what happens instead",
    r"of its own accord": "by itself",
    r"one after the other": "in turn",
    r"at last": "finally",
    r"thereof|therein|thereby|wherein|whereof|whereby": "use a plain connective",
}
_STARTS = re.compile(r"(?:Of|Of what|From which|To what|With what|By which)\b(?! course)")
_CODE_IN_MARKDOWN = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`|<[^>\n]+>|\]\([^)]*\)", re.M | re.S)
_CODE_IN_PYTHON = re.compile(r"``[^`]*``|`[^`\n]*`")


class Text(NamedTuple):
    """A piece of prose, code blanked out, and the line of its file that it begins on."""

    words: str
    line: int
    is_sentence: bool


def findings(path: Path) -> Iterator[str]:
    """What is to be rewritten in a file, as ``path:line: message``."""
    for text in texts(path):
        for check in CHECKS:
            for found in check.check_with_flags(text.words):
                line = text.line + text.words[: found.span[0]].lstrip("\n").count("\n")
                yield f"{path}:{line}: {found.message}"
        if text.is_sentence and _STARTS.match(text.words.strip()):
            yield f"{path}:{text.line}: begins with a preposition; say what it is or does."


def texts(path: Path) -> Iterator[Text]:
    """The prose of a Markdown page or a Python module."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield Text(_blanked(_CODE_IN_MARKDOWN, source), 1, False)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if (doc := ast.get_docstring(node)) is not None:
                yield Text(_blanked(_CODE_IN_PYTHON, doc), node.body[0].lineno, True)
        elif isinstance(node, ast.keyword) and node.arg == "help":
            yield from _literal(node.value, is_sentence=True)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                yield from _literal(argument, is_sentence=False)


def _literal(node: ast.expr, is_sentence: bool) -> Iterator[Text]:
    """A string or an f-string, its values as X."""
    if isinstance(node, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.Constant) else "X" for each in node.values]
        yield Text(_blanked(_CODE_IN_PYTHON, "".join(map(str, parts))), node.lineno, is_sentence)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield Text(_blanked(_CODE_IN_PYTHON, node.value), node.lineno, is_sentence)


def _blanked(code: re.Pattern[str], text: str) -> str:
    """The text with code replaced by spaces, so that lines stay where they are."""
    return code.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def _own_check(pattern: str, advice: str) -> Check:
    return Check(
        check_type=types.Existence(items=(pattern,)),
        path="muqrt",
        message=f"'{{}}': {advice}.",
    )


CHECKS = [
    *(c for c in checks_of_proselint if any(c.matches_partial(each) for each in FAMILIES)),
    *(_own_check(*rule) for rule in AVOIDED.items()),
]


if __name__ == "__main__":
    found = [each for name in sys.argv[1:] for each in findings(Path(name))]
    print(*found, sep="\n" if found else "")
    sys.exit(bool(found))
