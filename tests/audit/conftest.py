"""A phantom scan of two millimetres' pixels with its true organs: small enough to change in a moment."""

from __future__ import annotations

import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset
from organcam.data.phantom.render import render_scan
from organcam.data.volume import Volume


@pytest.fixture(scope="session")
def healthy():
    """HU and organs of a person without any finding; noise of 15 HU."""
    settings = PhantomSettings(
        shape=(64, 160, 160),
        scans={"train": 1, "valid": 0, "test": 0, "shifted": 0},
        prevalence=dict.fromkeys(PhantomSettings().prevalence, 0.0),
        confounders=(),
        interventions=0,
        noise_hu=(15.0, 15.0),
        arms_down=0.0,
    )
    scan = render_scan(settings, plan_dataset(settings)[0])
    return Volume(scan.hu, scan.affine), Volume(scan.organs, scan.affine)
