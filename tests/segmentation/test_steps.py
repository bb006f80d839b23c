"""The single steps on small made-up chests."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.segmentation.anatomy.airways import Airways, airway_wall, find_airways
from organcam.segmentation.anatomy.body import body_mask, inner_air, is_padded
from organcam.segmentation.anatomy.bowel import find_bowel_gas
from organcam.segmentation.anatomy.closing import close_lungs
from organcam.segmentation.anatomy.hilum import without_hilum
from organcam.segmentation.anatomy.left_right import split_component
from organcam.segmentation.anatomy.midline import Midline, find_midline
from organcam.segmentation.anatomy.rough import rough_labels
from organcam.segmentation.anatomy.thorax import Thorax, measure_thorax
from organcam.segmentation.anatomy.turned import trunk_angle, turn
from organcam.segmentation.grid import make_working_grid
from organcam.segmentation.quality import assess, flag_rules

SPACING = (4.0, 4.0, 4.0)


def ball(shape, centre, radii):
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)) <= 1


@pytest.fixture
def chest():
    """A cylinder of soft tissue with two lungs, a spine right of the image's middle, and a table behind it."""
    volume = np.full((40, 64, 90), -1000.0, dtype=np.float32)
    body = ball((1, 64, 90), (0, 28, 50), (1, 24, 36))
    volume[:, body[0]] = 40
    for x in (36, 64):
        volume[ball(volume.shape, (20, 26, x), (16, 15, 10))] = -850
    volume[:, 38:50, 48:53] = 300
    volume[:, 60:62, 10:85] = 200
    return volume


def test_body_is_the_trunk_without_the_table(chest):
    body = body_mask(chest, SPACING)
    assert body[5, 28, 50]
    assert not body[:, 59:].any()


def test_air_inside_is_the_lungs_and_nothing_is_cut(chest):
    air, _, cut = inner_air(chest, SPACING)
    assert np.array_equal(air, chest == -850)
    assert not cut.any()


def test_lung_cut_by_the_image_border_is_kept_and_reported(chest):
    rng = np.random.default_rng(0)
    chest[chest == -850] += rng.normal(0, 60, int((chest == -850).sum())).astype(np.float32)
    part = np.ascontiguousarray(chest[:, :, 32:])
    air, _, cut = inner_air(part, SPACING)
    assert cut[20, 26, 2]
    assert air[20, 26, 2]
    assert not cut[:, :, 40:].any()


def test_padding_is_told_from_room_air(chest):
    assert not is_padded(chest)
    chest[:, :8] = chest[:, -8:] = chest[:, :, :3] = chest[:, :, -3:] = -1024
    assert is_padded(chest)


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 12.0])
def test_angle_of_an_elliptic_trunk_is_found_and_undone(degrees):
    spacing = (5.0, 2.0, 3.0)
    y, x = ((np.arange(n) - n / 2) * mm for n, mm in zip((160, 140), spacing[1:], strict=True))
    tilt = np.radians(degrees)
    along = np.cos(tilt) * x[None] + np.sin(tilt) * y[:, None]
    across = np.cos(tilt) * y[:, None] - np.sin(tilt) * x[None]
    trunk = np.broadcast_to((along / 150) ** 2 + (across / 100) ** 2 < 1, (4, 160, 140))
    assert trunk_angle(trunk, trunk, spacing) == pytest.approx(degrees, abs=0.5)
    upright = turn(trunk.astype(np.uint8), degrees, spacing)
    assert trunk_angle(upright > 0, upright > 0, spacing) == pytest.approx(0.0, abs=0.5)
    back = turn(upright, -degrees, spacing)
    assert (back != trunk).mean() < 0.01


def test_a_round_trunk_shows_no_angle():
    trunk = np.broadcast_to(ball((1, 60, 60), (0, 30, 30), (1, 25, 25)), (4, 60, 60))
    assert trunk_angle(trunk, trunk, SPACING) == 0.0


def test_midline_is_the_spine_and_not_the_image_centre(chest):
    midline = find_midline(chest, body_mask(chest, SPACING), SPACING)
    assert np.abs(midline.column - 50).max() <= 1.5
    assert midline.bone_share == 1.0


def test_trachea_is_grown_but_does_not_leak_into_the_lungs(chest):
    trachea = np.zeros(chest.shape, dtype=bool)
    trachea[:18, 24:28, 48:52] = True
    chest[trachea] = -980
    chest[16:18, 25:27, 40:48] = -900  # a bronchus that opens into the right lung
    body = body_mask(chest, SPACING)
    airways = find_airways(chest, (chest < -420) & (chest > -999), find_midline(chest, body, SPACING), SPACING)
    assert airways.found
    assert (airways.mask & trachea).sum() == trachea.sum()
    assert airways.mask.sum() < 1.5 * trachea.sum()
    assert 16 <= airways.carina <= 18


def test_no_trachea_is_said_so(chest):
    body = body_mask(chest, SPACING)
    airways = find_airways(chest, chest == -850, find_midline(chest, body, SPACING), SPACING)
    assert not airways.found
    assert np.isnan(airways.carina)


def test_carina_is_where_the_airway_parts_however_far_one_bronchus_is_seen(chest):
    chest[:15, 24:28, 48:52] = -980
    chest[14:17, 25:28, 42:48] = -980
    chest[14:20, 25:28, 52:55] = -980
    body = body_mask(chest, SPACING)
    air = (chest < -420) & (chest > -999) & (chest != -850)
    airways = find_airways(chest, air, find_midline(chest, body, SPACING), SPACING)
    assert airways.parted
    assert airways.carina == 15
    closed = np.where(chest == -850, 1, 0).astype(np.uint8)
    assert measure_thorax(chest, closed, find_midline(chest, body, SPACING), airways, SPACING).carina == 15


def test_a_trachea_lost_from_sight_leaves_the_carina_at_its_usual_height(chest):
    chest[:8, 24:28, 48:52] = -980
    body = body_mask(chest, SPACING)
    midline = find_midline(chest, body, SPACING)
    airways = find_airways(chest, (chest < -420) & (chest > -999) & (chest != -850), midline, SPACING)
    assert (airways.found, airways.parted, airways.carina) == (True, False, 8)
    closed = np.where(chest == -850, 1, 0).astype(np.uint8)
    thorax = measure_thorax(chest, closed, midline, airways, SPACING)
    assert thorax.carina == pytest.approx(thorax.top + 0.34 * (thorax.bottom - thorax.top))


def test_bronchi_of_the_lobes_are_left_to_the_lung():
    lumen = np.zeros((10, 20, 60), dtype=bool)
    lumen[4:6, 9:11, 10:50] = True  # 80 mm to either side of a midline in column 30
    middle = np.full(10, 30.0)
    wall = airway_wall(Airways(lumen, True, 5.0, True, 20.0, 0.0), Midline(middle, middle, 1.0), SPACING)
    assert wall[4:6, 9:11, 20:41].all()
    assert not wall[:, :, :18].any()
    assert not wall[:, :, 43:].any()


def test_stomach_gas_is_gas_and_emphysema_is_not(chest):
    stomach = ball(chest.shape, (37, 20, 62), (2.6, 5, 5))
    chest[30:, :, :][chest[30:] == -850] = 40
    chest[stomach] = -990
    emphysema = ball(chest.shape, (20, 26, 64), (5, 8, 6))
    chest[emphysema] = -970
    air = (chest < -420) & ball((1, 64, 90), (0, 28, 50), (1, 24, 36))
    gas = find_bowel_gas(chest, air, SPACING)
    assert (gas & stomach).sum() > 0.9 * stomach.sum()
    assert not (gas & emphysema).any()


def test_joined_lungs_part_at_their_neck_and_not_at_the_midline():
    right, left = ball((30, 40, 60), (15, 20, 17), (13, 16, 14)), ball((30, 40, 60), (15, 20, 46), (13, 16, 12))
    neck = np.zeros(right.shape, dtype=bool)
    neck[13:17, 18:22, 30:36] = True
    middle = np.full(30, 27.0)  # a midline that cuts the right lung
    labels = split_component(right | left | neck, Midline(middle, middle, 1.0), SPACING)
    assert (labels[right] == 1).mean() > 0.99
    assert (labels[left] == 2).mean() > 0.99
    assert not labels[~(right | left | neck)].any()


def test_closing_fills_a_vessel_but_not_the_dome_under_the_lung():
    lungs = np.zeros((30, 40, 40), dtype=np.uint8)
    lungs[2:28, 4:36, 4:36] = 1
    dome = ball(lungs.shape, (28, 20, 20), (14, 11, 11))
    lungs[dome] = 0
    vessel = np.zeros(lungs.shape, dtype=bool)
    vessel[4:10, 6:34, 19:21] = True
    lungs[vessel] = 0
    closed = close_lungs(lungs, np.zeros(lungs.shape, dtype=bool), SPACING)
    assert (closed[vessel] == 1).all()
    assert (closed[dome] == 1).mean() < 0.25


@pytest.mark.parametrize(
    ("row", "columns", "radius", "stays"),
    [
        (15, (21, 37), 6.0, False),
        (15, (21, 37), 2.0, True),
        (15, (29, 37), 6.0, True),
        (15, (46, 62), 6.0, True),
        (32, (21, 37), 6.0, True),
    ],
    ids=["thick at the root", "thin at the root", "nodule at the root", "thick far out", "thick below the root"],
)
def test_thick_vessels_at_the_lungs_root_are_no_lung(row, columns, radius, stays):
    spacing, shape = (4.0, 2.0, 2.0), (40, 40, 60)
    lungs = np.zeros(shape, dtype=np.uint8)
    lungs[2:38, 2:38, 22:58] = 2
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    vessel = sum(((g - c) * mm) ** 2 for g, c, mm in zip(grids[:2], (row, 20), spacing, strict=False)) <= radius**2
    vessel = vessel & (grids[2] >= columns[0]) & (grids[2] < columns[1])
    volume = np.where(lungs > 0, -850, 40).astype(np.float32)
    volume[vessel] = 40
    air = np.where(volume < -420, lungs, 0).astype(np.uint8)
    thorax = Thorax(np.full(40, 15.0), np.full(40, 38.0), np.full(40, 2.0), 2, 37, 8.0, 1.0, 1.0, spacing)
    found = without_hilum(volume, lungs, air, np.ones(shape, dtype=bool), thorax)
    inside = vessel & (lungs > 0) & (grids[2] >= 26)  # what lies against the mediastinum itself may go with it
    assert (found[inside] == 2).mean() == pytest.approx(float(stays), abs=0.1)
    assert np.array_equal(found[air > 0], air[air > 0])


def test_working_grid_keeps_the_mean_and_leaves_coarse_axes_alone():
    native = np.random.default_rng(0).integers(-1000, 400, (6, 50, 60)).astype(np.int16)
    grid = make_working_grid(native, (5.0, 0.8, 0.8))
    assert grid.volume.shape == (6, 20, 24)
    assert grid.spacing == pytest.approx((5.0, 2.0, 2.0))
    assert grid.volume.mean() == pytest.approx(native.mean(), abs=0.05)
    assert make_working_grid(native, (5.0, 4.0, 4.0)).is_native


def test_rough_labels_are_three_upright_parts_of_the_body():
    body = np.zeros((4, 10, 14), dtype=bool)
    body[1:3, 2:8, 2:12] = True
    labels = rough_labels(body)
    assert labels[1, 4].tolist() == [0, 0, 1, 1, 1, 3, 3, 3, 3, 2, 2, 2, 0, 0]
    assert not labels[0].any()


def test_every_flag_rule_is_sound():
    names = [rule.name for rule in flag_rules()]
    assert {"truncated_top", "truncated_bottom", "no_trachea", "left_lung_missing"} <= set(names)
    for rule in flag_rules():
        assert rule.relation in {"above", "below"}
        assert rule.severity in {"bad", "note"}
        assert "{" not in rule.sentence.format(value=1.0, percent=1.0)


def test_first_rule_of_a_group_wins_and_bad_flags_come_first():
    quality = assess({"ratio": 3.0, "free_air_ml": 200.0, "total_ml": 900.0})
    assert quality.names == ("volume_low", "side_ratio", "free_air")
    assert not quality.ok
    assert assess({"ratio": 2.0}).ok
    assert quality.to_dict()["flags"][1]["sentence"] == "One lung is 3.0 times the other."
