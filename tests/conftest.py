"""Fixtures that every area uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline would test the machine's load, not the code.
settings.register_profile("organcam", deadline=None)
settings.load_profile("organcam")

REPOSITORY = Path(__file__).resolve().parents[1]


def _shared_folder() -> Path | None:
    """The folder of real data and oracles beside the checkout, or where ORGANCAM_SHARED points; it is not published."""
    candidates = [os.environ.get("ORGANCAM_SHARED"), REPOSITORY.parent / "shared"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CT volumes and reports; a test that needs them is skipped where they are absent."""
    folder = _shared_folder()
    if folder is None or not (folder / "data").is_dir():
        pytest.skip("needs the real CT and report data, which are not part of the repository (set ORGANCAM_SHARED)")
    return folder / "data"


@pytest.fixture(scope="session")
def shared_spec() -> Path:
    """Numeric oracles of the published code; a test that needs them is skipped where they are absent."""
    folder = _shared_folder()
    if folder is None or not (folder / "spec").is_dir():
        pytest.skip("needs the numeric oracles, which are not part of the repository (set ORGANCAM_SHARED)")
    return folder / "spec"
