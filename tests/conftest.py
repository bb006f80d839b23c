"""Fixtures that every area uses."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture(scope="session")
def image_sets() -> SimpleNamespace:
    """What ``image_sets.py`` has: made 2D data sets in the form of the published ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("image_sets.py"))))


@pytest.fixture
def write_series() -> Callable[..., Path]:
    """Writes a slightly oblique CT series of 7 slices whose file names say nothing of their order."""
    import numpy as np
    import SimpleITK as sitk

    COLUMNS, ROWS, SLICES = 20, 16, 7
    SPACING = (0.7, 0.9, 2.5)

    def write(folder: Path, reverse: bool = False) -> Path:
        angle = 0.2
        across = np.array([np.cos(angle), np.sin(angle), 0.0])
        down = np.array([-np.sin(angle), np.cos(angle), 0.0])
        folder.mkdir()
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for index in range(SLICES):
            place = SLICES - 1 - index if reverse else index
            image = sitk.GetImageFromArray(np.full((1, ROWS, COLUMNS), 100 * place - 1000, np.int16))
            image.SetSpacing(SPACING)
            position = (-10.0, -20.0, 30.0 + SPACING[2] * place)
            fields = {
                "0008|0060": "CT",
                "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
                "0008|0018": f"1.2.3.4.{index + 1}",
                "0008|0020": "20240102",
                "0008|0030": "101112",
                "0008|0090": "",
                "0010|0010": "Phantom^One",
                "0010|0020": "P1",
                "0010|0030": "",
                "0010|0040": "O",
                "0020|0010": "1",
                "0018|0050": str(SPACING[2]),
                "0020|000d": "1.2.3",
                "0020|000e": "1.2.3.4",
                "0020|0052": "1.2.3.5",
                "0020|0013": str(index + 1),
                "0020|0032": "\\".join(f"{value:.6f}" for value in position),
                "0020|0037": "\\".join(f"{value:.8f}" for value in (*across, *down)),
                "0028|0030": f"{SPACING[1]}\\{SPACING[0]}",
            }
            for tag, value in fields.items():
                image.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{(index * 5) % SLICES}.dcm"))
            writer.Execute(image)
        (folder / "readme.txt").write_text("no slice")
        return folder

    return write
