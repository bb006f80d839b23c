"""A phantom chest for the segmentation tests."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan


@pytest.fixture(scope="session")
def phantom():
    """A rendered phantom with little disease: hu, affine, organs."""
    settings = PhantomSettings()
    spec = min(plan_dataset(settings), key=lambda s: (len(s.findings), s.scan_id))
    return render_scan(settings, spec)


@pytest.fixture(scope="session")
def phantom_mm(phantom):
    """Its spacing along (I, P, L)."""
    return tuple(float(v) for v in np.linalg.norm(phantom.affine[:3, :3], axis=0))
