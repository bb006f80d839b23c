"""docs/monai.ipynb out of docs/monai.md: `python tests/docs_notebook.py` writes it anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "monai.md"
PART = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def notebook_of(text: str) -> dict[str, Any]:
    """The page's Python as code cells, everything between as Markdown."""
    cells, at = [], 0
    for number, block in enumerate(PART.finditer(text)):
        cells += [_cell("markdown", text[at : block.start()], 2 * number), _cell("code", block[1], 2 * number + 1)]
        at = block.end()
    cells.append(_cell("markdown", text[at:], len(cells)))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, text: str, number: int) -> dict[str, Any]:
    more = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.strip("\n"), **more}


if __name__ == "__main__":
    made = notebook_of(PAGE.read_text("utf-8"))
    PAGE.with_suffix(".ipynb").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")
