"""Text in tables that people open in a spreadsheet: what would be taken for a formula there is written as text.

A report id or a file's name such as ``=HYPERLINK(...)`` is run by Excel and LibreOffice when a CSV is opened. An
apostrophe before it makes it text (OWASP, CSV injection); it is taken off where organcam reads its own tables.
"""

from __future__ import annotations

__all__ = ["as_text", "from_text"]

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
MARK = "'"


def as_text(cell: str) -> str:
    """A cell that no spreadsheet runs; numbers stay as they are.

    Example:
        >>> as_text("=1+2"), as_text("-3.5"), as_text("lung")
        ("'=1+2", '-3.5', 'lung')
    """
    if not cell.lstrip(MARK).startswith(STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"{MARK}{cell}"
    return cell


def from_text(cell: str) -> str:
    """What `as_text` was given.

    Example:
        >>> from_text("'=1+2"), from_text("'quoted'")
        ('=1+2', "'quoted'")
    """
    return cell[1:] if cell.startswith(MARK) and cell.lstrip(MARK).startswith(STARTS) else cell
