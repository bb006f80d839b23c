"""What tells a raised dome, pleural fluid and a contrast-filled aorta apart, on small arrays with known truth."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from organcam.segmentation import segment_organs
from organcam.segmentation.anatomy.chest_wall import PleuralModel, rib_surface, thick_bone
from organcam.segmentation.anatomy.diaphragm import Floor, dry_share
from organcam.segmentation.anatomy.fluid import (
    behind_front,
    blood_density,
    fluid_at_floor,
    fluid_beside,
    organ_density,
    under_lung,
)
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
    seen = under_lung(volume, lung, found, floor, inside, np.zeros_like(inside), thorax)
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


def test_a_fatty_liver_is_no_fluid_though_the_spleen_is_dense():
    """What weighs as fluid 55 to 90 mm below the lung's end is an organ."""
    fluid, _ = fluid_of(*chest_with_fluid(organ_hu=15.0), LIVER)
    assert not fluid.any()


def test_an_organ_in_the_mediastinums_zone_tells_fluid_as_well():
    """Half of the liver lies there: in a scan of 4 mm voxels 17 ml of it did not."""
    volume, lung, found, floor, inside, thorax = chest_with_fluid(organ_hu=60.0)
    inside[:, :, 3:-3] = False
    alone = under_lung(volume, lung, found, floor, inside, np.zeros_like(inside), thorax)
    assert np.isnan(organ_density(alone.organ, thorax))
    central = ~lung & ~inside
    seen = under_lung(volume, lung, found, floor, inside, central, thorax)
    assert organ_density(seen.organ, thorax) == 60.0
    # Right under the lung it may be the heart that is dense.
    central[20 + 25 // 2 :] = False
    assert np.isnan(organ_density(under_lung(volume, lung, found, floor, inside, central, thorax).organ, thorax))


def effusion_beside(fluid_hu, blood_hu):
    """A mediastinum of blood between columns 40 and 60, with fluid beside and in front of the spine from row 30 on."""
    volume = np.full((20, 60, 80), blood_hu, dtype=np.float32)
    curve = np.full(20, 45.0)
    thorax = Thorax(np.full(20, 60.0), curve, np.zeros(20), 0, 19, 5.0, 1.0, 1.0, SPACING)
    volume[:, 30:, :50] = fluid_hu
    disease = np.zeros(volume.shape, dtype=bool)
    disease[:, 30:, :40] = True
    central = np.zeros(volume.shape, dtype=bool)
    central[:, :, 40:60] = True
    blood = blood_density(volume, np.broadcast_to(np.arange(80) >= 40, volume.shape), thorax)
    return fluid_beside(volume, disease, central, blood, thorax)


@pytest.mark.parametrize("blood_hu", [40.0, 250.0])
def test_fluid_in_the_mediastinums_zone_is_told_by_what_blood_weighs(blood_hu):
    """A tenth of painted effusions was heart and mediastinum."""
    found = effusion_beside(12.0, blood_hu)
    assert found[:, 34:, 40:47].mean() > 0.98
    assert not found[:, :, 52:].any()
    assert not found[:, :28].any()


@pytest.mark.parametrize(("fluid_hu", "blood_hu"), [(12.0, 20.0), (45.0, 45.0), (45.0, 250.0)])
def test_nothing_in_the_mediastinums_zone_is_fluid_without_such_a_difference(fluid_hu, blood_hu):
    assert not effusion_beside(fluid_hu, blood_hu).any()


def test_disease_is_looked_for_behind_its_front():
    disease = np.zeros((2, 10, 8), dtype=bool)
    disease[0, 5:] = True
    np.testing.assert_array_equal(behind_front(disease)[0, :, 0], np.arange(10) >= 5)
    assert not behind_front(disease)[1].any()


def hemithorax(spleen_hu):
    """A right lung with ribs 5 mm around it, and something round of 40 mm between them and the lung; 2 mm."""
    volume = np.full((60, 90, 140), 40.0, dtype=np.float32)
    rows, columns = np.ogrid[:90, :140]
    away = np.hypot(rows - 45.0, columns - 35.0)
    lung = np.broadcast_to((away < 28) & ~((rows > 50) & (columns < 40)), volume.shape)
    volume[:, (away > 31) & (away < 35)] = 400.0
    spleen = np.hypot(rows - 60.0, columns - 25.0) < 10
    volume[:, spleen] = spleen_hu
    volume[lung] = -850.0
    curve = np.full(60, 70.0)
    thorax = Thorax(curve, np.full(60, 60.0), np.zeros(60), 0, 59, 5.0, 1.0, 1.0, SPACING)
    return volume, lung.copy(), thorax


def test_a_spleen_full_of_contrast_is_no_rib():
    """Fluid behind it lay beyond the chest wall."""
    walls = []
    for hu in (40.0, 175.0):
        volume, lung, thorax = hemithorax(hu)
        walls.append(rib_surface(volume, lung, thick_bone(volume, thorax), thorax, 1).wall)
    np.testing.assert_allclose(walls[1], walls[0], equal_nan=True)
    assert not np.isnan(walls[0][30, 42:81]).any()
    taken = rib_surface(volume, lung, np.zeros_like(lung), thorax, 1).wall
    assert (walls[1] - taken > 15.0).any()


def test_the_wall_goes_on_where_thin_ribs_were_averaged_away():
    volume, lung, thorax = hemithorax(40.0)
    known = rib_surface(volume, lung, thick_bone(volume, thorax), thorax, 1)
    volume[20:36, 60:, :][volume[20:36, 60:, :] > 150.0] = 120.0
    seen = rib_surface(volume, lung, thick_bone(volume, thorax), thorax, 1)
    rays = (seen.angles > -0.4) & (seen.angles < 2.1)
    np.testing.assert_allclose(seen.wall[:, rays], known.wall[:, rays], atol=4.0)


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
