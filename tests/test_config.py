import inspect
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from organcam.config import RegionsConfig, Workflow
from organcam.errors import ConfigError
from organcam.segmentation.regions.bitmaps import organ_regions
from organcam.transforms import AllowedFromOccupancy, AllowedFromOccupancyd, AllowedFromOrgans, AllowedFromOrgansd
from organcam.workflow_file import apply_overrides, load_workflow, parse_workflow


def problems_of(document) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_workflow(document, "mine.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", ["phantom", "folder", "phantom.yaml", "workflows/folder.yaml"])
def test_shipped_workflows_are_found_by_name_and_valid(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no checkout around: they come from the package
    assert load_workflow(name).models


def test_every_mistake_is_reported_at_once_with_path_and_nearest_key():
    text = problems_of(
        {
            "trian": {},
            "train": {"epochs": -1, "learning_rat": 1},
            "phantom": {"shap": [1, 2, 3]},
            "models": {"masked": {"mask_loss": {"from": "l2"}}},
        }
    )
    assert text.startswith("mine.yaml: 5 problems")
    for words in (
        "trian: no such key, did you mean 'train'?",
        "train.epochs: input should be greater than 0 (found -1)",
        "train.learning_rat: no such key, did you mean 'learning_rate'?",
        "phantom.shap: no such key, did you mean 'shape'?",
        "models.masked.mask_loss.from: no such key, did you mean 'form'?",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"explain": {"splits": ["vald"]}}, "did you mean 'valid'"),
        ({"models": {"a/b": {}}}, "becomes a folder"),
        ({"train": {"device": "gpu"}}, "train.device"),
        ({"data": {"fractions": {"tain": 1}}}, "data.fractions"),
        ({"phantom": {"scans": {"trian": 3}}}, "did you mean 'train'"),
    ],
)
def test_wrong_values_are_told(document, words):
    assert words in problems_of(document)


def test_overrides_reach_any_key_and_keep_the_order_of_models():
    workflow = load_workflow("phantom", ["train.epochs=3", "models.masked.train.batch_size=2", "data.images=x.csv"])
    assert workflow.train.epochs == 3
    assert workflow.training_of("masked").batch_size == 2
    assert workflow.training_of("baseline").batch_size == workflow.train.batch_size
    assert workflow.training_of("masked").epochs == 3
    assert workflow.data.images == Path("x.csv")
    assert list(workflow.models) == ["baseline", "masked"]


@pytest.mark.parametrize("override", ["train.epochs", "=3", "seed.deeper=1", "train.epochs=[1"])
def test_unusable_overrides_are_told(override):
    with pytest.raises(ConfigError, match="--set"):
        load_workflow("phantom", [override])


def test_one_seed_serves_data_and_training_unless_the_phantom_names_its_own():
    assert load_workflow("phantom", ["seed=7"]).phantom.seed == 7
    assert load_workflow("phantom", ["seed=7", "phantom.seed=1"]).phantom.seed == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"train: [1", "line 1"),
        (b"- a\n- b", "mapping of sections"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"train: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_workflow_is_refused(tmp_path, content, words):
    (tmp_path / "w.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_workflow(tmp_path / "w.yaml")
    assert "w.yaml" in str(caught.value)


def test_missing_file_names_the_shipped_ones():
    with pytest.raises(ConfigError, match="did you mean 'phantom'"):
        load_workflow("phantm.yaml")


@pytest.mark.parametrize("name", ["phantom", "folder"])
def test_the_written_document_reads_back_to_the_same_workflow(name):
    workflow = load_workflow(name, ["models.extra={train: {epochs: 2}}"])
    text = yaml.safe_dump(workflow.document(), sort_keys=False)
    again = parse_workflow(yaml.safe_load(text))
    assert again.document() == workflow.document()
    assert again.training_of("extra").epochs == 2
    assert again.training_of("extra").batch_size == workflow.train.batch_size


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_plain_data_is_either_a_workflow_or_a_config_error(value):
    document = value if isinstance(value, dict) else {"train": value}
    try:
        assert isinstance(parse_workflow(document), Workflow)
    except ConfigError as error:
        assert "problem" in str(error)


def test_overrides_leave_the_document_alone():
    document = {"train": {"epochs": 1}}
    assert apply_overrides(document, ["train.epochs=2"])["train"]["epochs"] == 2
    assert document["train"]["epochs"] == 1


def test_threshold_of_a_region_is_the_same_from_python_and_from_a_workflow():
    transforms = (AllowedFromOrgans, AllowedFromOrgansd, AllowedFromOccupancy, AllowedFromOccupancyd)
    functions = (organ_regions, *(transform.__init__ for transform in transforms))
    defaults = {inspect.signature(function).parameters["threshold"].default for function in functions}
    assert defaults == {RegionsConfig().threshold}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"train": {"batch_size": 4, "accumulation_steps": 3}},
            "accumulation_steps: 4 scans a step (batch_size) do not",
        ),
        ({"train": {"plateau_factor": 0.5}}, "plateau_factor: is for schedule: plateau, not for one_cycle"),
        (
            {"train": {"schedule": "plateau", "learning_rate": 1e-7}},
            "plateau_until: 1e-06 is no lower than learning_rate",
        ),
        ({"train": {"batch_size": 4}, "models": {"m": {"train": {"accumulation_steps": 3}}}}, "train of models.m"),
        ({"train": {"batch_size": 4}, "search": {"accumulation_steps": [2, 3]}}, "accumulation_steps: 4 scans a step"),
        ({"train": {"monitor": "auroc"}}, "train.monitor"),
    ],
)
def test_training_settings_that_do_not_go_together_are_told_when_the_file_is_read(document, words):
    assert words in problems_of(document)


def test_a_model_s_own_settings_lie_over_those_of_the_workflow_before_they_are_compared():
    document = {"train": {"batch_size": 4}, "models": {"m": {"train": {"accumulation_steps": 4}}}}
    assert parse_workflow(document, "mine.yaml").training_of("m").accumulation_steps == 4
    pylon = {"optimizer": "adam", "learning_rate": 1e-4, "schedule": "plateau", "weight_decay": 0.0}
    assert parse_workflow({"train": pylon}, "mine.yaml").train.plateau_factor == 0.2
