"""How results look: tables in Markdown, and the colours of charts."""

from collections.abc import Sequence

# Okabe and Ito's palette, which colour-blind readers can tell apart.
GREY = "#999999"
COLOURS = (GREY, "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is text, the others are right-aligned figures."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (columns, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))
