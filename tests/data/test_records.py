from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.data.records import ScanRecord, assign_splits, duplicates, in_split, read_manifest, records_frame
from organcam.errors import DataError

THIRDS = {"train": 0.7, "valid": 0.1, "test": 0.2}


def test_manifest_survives_writing_and_reading(tmp_path: Path):
    records = [ScanRecord("001", "a,b/x.nii.gz", "NA", "train", ""), ScanRecord("b", "y.nrrd", "p", "all", "r 1")]
    records_frame(records).to_csv(tmp_path / "manifest.csv", index=False)
    assert read_manifest(tmp_path / "manifest.csv") == records


def test_scans_of_one_patient_stay_together_and_seeds_differ():
    patients = [f"p{n // 3}" for n in range(90)]
    splits = assign_splits(patients, THIRDS, seed=0)
    assert set(splits) == set(patients)
    assert splits != assign_splits(patients, THIRDS, seed=1)
    assert splits == assign_splits(list(reversed(patients)), THIRDS, seed=0)


def test_few_patients_are_in_every_split():
    assert assign_splits(["a", "b"], THIRDS, seed=0) == {"a": "all", "b": "all"}
    record = ScanRecord("a", "", "a", "all", "")
    assert in_split([record], "test") == [record]
    assert in_split([record], "shifted") == []


@given(count=st.integers(10, 200), train=st.floats(0.01, 5), valid=st.floats(0.01, 5), test=st.floats(0.01, 5))
def test_every_wanted_split_gets_someone_and_shares_are_kept(count, train, valid, test):
    fractions = {"train": train, "valid": valid, "test": test}
    found = list(assign_splits([str(n) for n in range(count)], fractions, seed=3).values())
    total = sum(fractions.values())
    for split, share in fractions.items():
        assert found.count(split) >= 1
        assert abs(found.count(split) - share / total * count) <= 3


def test_no_fraction_at_all_is_an_error():
    with pytest.raises(DataError, match="every split empty"):
        assign_splits(["a"], {"train": 0.0}, seed=0)


def test_duplicates_ignore_case():
    assert duplicates(["a", "B", "b", "c"]) == ["B", "b"]
