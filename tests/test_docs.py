"""The Python of the how-to pages runs as it stands, from top to bottom; every link of all pages leads somewhere."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture
def registries():
    """What the pages register is forgotten afterwards."""
    from organcam.networks import NETWORKS
    from organcam.plugins import ATTENTION_LOSSES, METHODS

    before = [(registry, dict(registry._builders)) for registry in (NETWORKS, METHODS, ATTENTION_LOSSES)]
    yield
    for registry, builders in before:
        registry._builders = builders


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in (DOCS / "monai.md", *sorted((DOCS / "how-to").glob("*.md")))
        if BLOCK.search(page.read_text("utf-8"))
    ],
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_python_of_a_page_runs(page, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    names = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), names)  # so that an error names the page's line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_table_of_contents():
    contents = (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    assert [page for page in PAGES if str(page.relative_to(DOCS)) not in contents] == []


def test_the_notebook_is_the_page():
    """Its cells run with the page; `python tests/docs_notebook.py` writes it anew."""
    names = runpy.run_path(str(Path(__file__).with_name("docs_notebook.py")))
    held = json.loads((DOCS / "monai.ipynb").read_text("utf-8"))
    assert held == names["notebook_of"]((DOCS / "monai.md").read_text("utf-8"))
