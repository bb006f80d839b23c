"""Masks of other tools: tables, grid check, plausibility."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.errors import ConfigError, DataError
from organcam.segmentation import external_organs
from organcam.segmentation.external import check_value_table, read_value_table

AFFINE = np.diag([-8.0, -8.0, 8.0, 1.0])  # array axes (L, P, S): low index is the patient's left


def lobes():
    labels = np.zeros((40, 30, 30), dtype=np.int16)
    labels[3:15, 5:25, 5:25] = 10  # left upper lobe of TotalSegmentator
    labels[25:37, 5:25, 5:15], labels[25:37, 5:25, 15:25] = 12, 14
    labels[17:23, 8:20, 8:20] = 51
    return labels[::-1].copy()


def test_known_table_maps_lobes_to_lungs_and_keeps_the_grid():
    result = external_organs(
        lobes()[::-1], affine=np.diag([-8.0, -8.0, 8.0, 1.0])[[0, 1, 2, 3]], table="totalsegmentator"
    )
    assert result.labels.shape == (40, 30, 30)
    assert result.quality.names == ("left_right_flip",)
    right = external_organs(lobes(), affine=AFFINE, table="totalsegmentator")
    assert right.quality.ok
    assert [int((right.labels == v).sum()) for v in (1, 2, 3)] == [4800, 4800, 864]


def test_own_table_may_name_one_or_several_values():
    result = external_organs(lobes(), affine=AFFINE, table={"right_lung": [12, 14], "left_lung": 10})
    assert (result.labels == 3).sum() == 0
    assert result.quality.ok


def test_missing_lung_is_flagged():
    result = external_organs(np.where(lobes() == 10, 0, lobes()), affine=AFFINE, table="totalsegmentator")
    assert "left_lung_missing" in result.quality.names


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"table": "totalsegmentater"}, ValueError, "did you mean 'totalsegmentator'"),
        ({"table": {"right_long": 1}}, ValueError, "did you mean 'right_lung'"),
        ({"table": "organcam"}, DataError, "is it the right label table"),
        ({"table": "totalsegmentator", "ct_shape": (40, 30, 31)}, DataError, "resample"),
        ({"table": "totalsegmentator", "ct_affine": np.diag([-8.0, -8.0, 8.5, 1.0])}, DataError, "15.0 mm"),
    ],
)
def test_wrong_table_or_grid_is_refused_in_words(arguments, error, words):
    with pytest.raises(error, match=words):
        external_organs(lobes(), affine=AFFINE, **arguments)


def test_a_table_of_values_is_read_from_yaml(tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text("right_lung: [3, 4]\nleft_lung: 1\n")
    assert read_value_table(str(file)) == {"right_lung": (3, 4), "left_lung": (1,), "heart_mediastinum": ()}
    assert read_value_table("lungmask")["left_lung"] == (2,)


def test_all_mistakes_of_a_table_are_told_together():
    with pytest.raises(ConfigError) as caught:
        check_value_table({"rigth_lung": 1, "left_lung": [2, "x"], "heart_mediastinum": 2}, "values.yaml")
    text = str(caught.value)
    assert text.startswith("values.yaml: 4 problems")
    for words in ("did you mean 'right_lung'", "found 'x'", "taken by left_lung", "both right_lung and left_lung"):
        assert words in text


@pytest.mark.parametrize(
    ("text", "words"), [("[1", "not valid YAML"), ("5", "expected organs"), ("{}", "expected organs")]
)
def test_a_file_that_is_no_table_of_values_is_refused(tmp_path, text, words):
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_value_table(str(file))


def test_an_unknown_tool_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'totalsegmentator'"):
        read_value_table("totalsegmentater")
