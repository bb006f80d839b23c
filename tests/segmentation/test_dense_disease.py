"""What tells a raised dome, pleural fluid and a contrast-filled aorta apart, on small arrays with known truth."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from organcam.segmentation import segment_organs
from organcam.segmentation.anatomy.chest_wall import PleuralModel
from organcam.segmentation.anatomy.diaphragm import Floor, dry_share
from organcam.segmentation.anatomy.fluid import fluid_at_floor, organ_density, under_lung
from organcam.segmentation.anatomy.midline import find_midline
from organcam.segmentation.anatomy.pleura import _not_far_larger_than
from organcam.segmentation.anatomy.thorax import Thorax

SPACING = (2.0, 2.0, 2.0)


def model_of(lung_to_wall_mm):
    """A chest wall at 100 mm on every ray, with the lung this far from it."""
    angles = np.linspace(-np.pi, np.pi, 96, endpoint=False)
    wall = np.full((40, 96), 100.0)
    unused = np.zeros((1, 1))
    return PleuralModel((0.0, 0.0), unused, unused.astype(int), angles, wall, wall - lung_to_wall_mm, 3.0, 0, 2.0, 2.0)


def test_a_recess_full_of_air_is_dry_and_one_with_fluid_is_not():
    assert dry_share(model_of(4.0), 10.0, 2.0) == 1.0
    assert dry_share(model_of(30.0), 10.0, 2.0) == 0.0
    assert np.isnan(dry_share(model_of(4.0), float("nan"), 2.0))


def chest_with_fluid(organ_hu, fluid_hu=12.0):
    """Lung over 20 mm of fluid over an organ, in a box; spacing 2 mm."""
    volume = np.full((60, 40, 40), organ_hu, dtype=np.float32)
    volume[:20] = -850.0
    volume[20:30] = fluid_hu
    lung = np.zeros(volume.shape, dtype=bool)
    lung[:20] = True
    curve = np.zeros(60)
    thorax = Thorax(curve, curve, curve, 0, 20, 5.0, 1.0, 1.0, SPACING)
    inside = ~lung
    floor = Floor(np.full((40, 40), 19.0), True, 1.0)
    return volume, lung, np.zeros_like(lung), floor, inside, thorax


def fluid_of(volume, lung, found, floor, inside, thorax, other_side=None):
    """Fluid and organ as one side alone shows them, or with the organ voxels of the other side."""
    seen = under_lung(volume, lung, found, floor, inside, thorax)
    density = organ_density(seen.organ, thorax)
    if np.isnan(density) and other_side is not None:
        density = organ_density(np.concatenate([seen.organ, other_side]), thorax)
    if np.isnan(density):
        return np.zeros_like(found), np.zeros_like(found)
    return fluid_at_floor(seen, density, lung, found, floor, inside, thorax)


def test_fluid_under_a_lung_is_found_above_a_denser_organ():
    fluid, _ = fluid_of(*chest_with_fluid(organ_hu=60.0))
    assert fluid[20:29].mean() > 0.95
    assert fluid[32:].mean() < 0.02


@pytest.mark.parametrize("organ_hu", [15.0, 30.0])
def test_without_a_denser_organ_below_nothing_is_called_fluid(organ_hu):
    fluid, organ = fluid_of(*chest_with_fluid(organ_hu=organ_hu))
    assert not fluid.any()
    assert not organ.any()


LIVER = np.full(20_000, 60.0, dtype=np.float32)  # 160 ml at 2 mm


@pytest.mark.parametrize("dry", [True, False])
def test_fluid_over_fat_and_gas_is_told_by_what_the_other_sides_organ_weighs(dry):
    """The stomach lies under the left dome: painted subpulmonic effusions there were missed."""
    volume, lung, found, _, inside, thorax = chest_with_fluid(organ_hu=-100.0)
    floor = Floor(np.full((40, 40), 19.0), dry, 1.0)
    alone, _ = fluid_of(volume, lung, found, floor, inside, thorax)
    fluid, _ = fluid_of(volume, lung, found, floor, inside, thorax, LIVER)
    assert not alone.any()
    assert fluid[20:29].mean() > 0.95
    assert fluid[32:].mean() < 0.02
    # Water under a part of the base only is in the stomach, whatever the recess holds.
    volume[20:30, :, 10:] = -100.0
    part, _ = fluid_of(volume, lung, found, floor, inside, thorax, LIVER)
    assert not part.any()


def test_healthy_liver_right_under_the_lung_is_no_fluid():
    fluid, _ = fluid_of(*chest_with_fluid(organ_hu=60.0, fluid_hu=60.0))
    assert not fluid.any()


def test_water_under_a_part_of_the_base_is_a_stomach():
    volume, *rest = chest_with_fluid(organ_hu=60.0)
    volume[20:30, :, 10:] = 60.0
    fluid, _ = fluid_of(volume, *rest)
    assert not fluid.any()


def test_an_aorta_full_of_contrast_does_not_move_the_midline():
    volume = np.full((30, 100, 160), -1000.0, dtype=np.float32)
    volume[:, 10:90, 10:150] = 40.0
    rows, columns = np.ogrid[:100, :160]
    body = (rows - 70) ** 2 + (columns - 80) ** 2
    volume[:, body < 17**2] = 250.0
    volume[:, (rows - 74) ** 2 + (columns - 80) ** 2 < 5**2] = 30.0
    volume[:, (rows - 62) ** 2 + (columns - 104) ** 2 < 13**2] = 420.0
    midline = find_midline(volume, volume > -400, SPACING)
    assert np.abs(midline.column - 80).max() < 1.0
    assert midline.bone_share == 1.0


def test_a_little_disease_does_not_bring_in_much_beside_the_mediastinum():
    disease, add = np.zeros((3, 9, 9), dtype=bool), np.zeros((3, 9, 9), dtype=bool)
    disease[1, 1, 1] = True
    add[1, 1, 2:8] = True  # six beside one
    disease[1, 6, 1:6] = True
    add[1, 6, 6:8] = True  # two beside five
    kept = _not_far_larger_than(add, disease)
    assert not kept[1, 1].any()
    np.testing.assert_array_equal(kept[1, 6], add[1, 6])


@pytest.mark.parametrize(("name", "limit_ml"), [("lidc_idri_0001", 40.0), ("cmb_crc", 40.0)])
def test_no_liver_or_spleen_is_lung_in_clear_chests_with_contrast(shared_data, name, limit_ml):
    """136 and 92 ml of them were, taken for disease beside the mediastinum and behind a cut base."""
    path = shared_data / "ct_dev" / f"{name}.nii.gz"
    if not path.is_file():
        pytest.skip(f"needs {name}")
    image = nib.load(path)
    measures = segment_organs(np.asanyarray(image.dataobj), affine=image.affine).quality.measures
    assert measures["right_dense_ml"] + measures["left_dense_ml"] < limit_ml
    assert measures["right_recess_air"] > 0.7
