"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line per row; bars in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(_line(cells) for cells in lines) + "\n"


def code(text: str) -> str:
    """The text as code, nothing for no text."""
    return f"`{text}`" if text else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
