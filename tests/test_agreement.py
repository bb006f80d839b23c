"""Settings that cannot work are refused when the file is read, not after hours: one by one, and against each other."""

import math

import pytest

from organcam.config import Workflow
from organcam.errors import ConfigError
from organcam.workflow_file import load_workflow, parse_workflow

INFINITE = [math.nan, math.inf, -math.inf]


def problems_of(document) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_workflow(document, "mine.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"models": {}}, "models: name at least one model"),
        ({"models": {"candidates": {}}}, "models: 'candidates' is a folder of the train stage"),
        ({"models": {"Candidates": {}}}, "'Candidates' is a folder"),
        ({"models": {"a b": {}}}, "'a b' becomes a folder"),
        ({"models": {"nul": {}}}, "'nul'"),
        ({"models": {"m" * 65: {}}}, "at most 64"),
        ({"models": {"é": {}}}, "becomes a folder"),
        ({"models": {"a": {}, "A": {}}}, "'A' and 'a' differ in capitals only"),
        ({"models": {"a": {"mask_loss": {"weight": []}}}}, "models.a.mask_loss.weight: name at least one weight"),
        ({"models": {"a": {"mask_loss": {"weight": [2, 3, 2.0]}}}}, "models.a.mask_loss.weight: 2 is listed twice"),
        ({"models": {"a": {"mask_loss": {"weight": 1e6}}}}, "models.a.mask_loss.weight"),
        ({"models": {"a": {"mask_loss": {"weight": 2}}, "a-weight-2": {}}}, "models.a-weight-2: "),
        ({"models": {"a": {"train": {"parallel": True}}}}, "models.a.train.parallel: "),
        ({"explain": {"methods": []}}, "explain.methods: name at least one attention method"),
        ({"explain": {"methods": ["hirescam", "hirescam"]}}, "explain.methods: 'hirescam' is listed twice"),
        ({"explain": {"splits": []}}, "explain.splits: name at least one of all, intervention, shifted"),
        ({"explain": {"splits": ["valid", "test", "valid"]}}, "explain.splits: 'valid' is listed twice"),
        (
            {"explain": {"methods": ["gradcam"], "volumes": ["predicted"]}},
            "explain.volume_method: hirescam is not among explain.methods (legal here: gradcam)",
        ),
        ({"explain": {"volume_scans": ["a"]}}, "explain.volume_scans: names scans, but explain.volumes names no label"),
        ({"explain": {"volumes": ["present"], "volume_scans": []}}, "explain.volume_scans: name at least one scan"),
        (
            {"labels": {"names": ["lung_mass"]}, "explain": {"volumes": ["predicted", "lung_nodule"]}},
            "explain.volumes: 'lung_nodule' is not among labels.names",
        ),
        ({"labels": {"names": []}}, "labels.names: name at least one label, or all"),
        ({"labels": {"names": ["lung_mass", "lung_mass"]}}, "labels.names: 'lung_mass' is listed twice"),
        ({"regions": {"pictures": ["a", "a"]}}, "regions.pictures: 'a' is listed twice"),
        ({"regions": {"reference_mode": "area"}}, "regions.reference_mode: area is for registration: reference only"),
        (
            {"regions": {"registration": "reference", "threshold": 0.25}},
            "regions.threshold: 0.25 is for registration: network only",
        ),
        ({"input": {"window_hu": [800, -1000]}}, "input.window_hu: the lower end comes first, got 800 to -1000"),
        ({"input": {"window_hu": [0, 0]}}, "input.window_hu: the lower end comes first"),
        ({"input": {"shape": [3, 10**6, 10**6]}}, "input.shape"),
        ({"store": {"clip_hu": [1000, -1000]}}, "store.clip_hu: the lower end comes first"),
        ({"store": {"clip_hu": [-40000, 1000]}}, "store.clip_hu"),
        ({"store": {"spacing_mm": [1e-6, 1, 1]}}, "store.spacing_mm"),
        (
            {"store": {"clip_hu": [-1000, 400]}, "input": {"window_hu": [500, 1500]}},
            "input.window_hu: 500 to 1500 HU lies outside store.clip_hu (-1000 to 400)",
        ),
        ({"data": {"images": []}}, "data.images: name at least one file"),
        ({"data": {"fractions": {"train": 0}}}, "data.fractions: train and valid need a share above 0"),
        ({"data": {"fractions": {"train": 0.5, "test": 0.5}}}, "data.fractions: train and valid need a share above 0"),
        ({"data": {"report_text_columns": []}}, "data.report_text_columns: name at least one column"),
        ({"data": {"report_text_columns": ["a", "a"]}}, "data.report_text_columns: 'a' is listed twice"),
        ({"seed": 2**70}, "seed"),
        ({"phantom": {"scans": {"train": 10**12}}}, "scans"),
    ],
)
def test_what_cannot_work_is_told_with_its_key_and_what_is_legal(document, words):
    assert words in problems_of(document)


@pytest.mark.parametrize("number", INFINITE, ids=str)
@pytest.mark.parametrize(
    ("document", "key"),
    [
        (lambda x: {"input": {"window_hu": [-1000, x]}}, "input.window_hu"),
        (lambda x: {"train": {"learning_rate": x}}, "train.learning_rate"),
        (lambda x: {"train": {"weight_decay": x}}, "train.weight_decay"),
        (lambda x: {"train": {"gradient_clip": x}}, "train.gradient_clip"),
        (lambda x: {"train": {"cache_gb": x}}, "train.cache_gb"),
        (lambda x: {"store": {"spacing_mm": [x, 1, 1]}}, "store.spacing_mm"),
        (lambda x: {"segment": {"timeout": x}}, "segment.timeout"),
        (lambda x: {"models": {"a": {"mask_loss": {"weight": x}}}}, "models.a.mask_loss.weight"),
        (lambda x: {"models": {"a": {"mask_loss": {"weight": [1, x]}}}}, "models.a.mask_loss.weight"),
        (lambda x: {"models": {"a": {"train": {"learning_rate": x}}}}, "models.a.train.learning_rate"),
        (lambda x: {"data": {"fractions": {"train": x}}}, "data.fractions.train"),
        (lambda x: {"phantom": {"spacing_mm": [x, 1, 1]}}, "phantom"),
        (lambda x: {"phantom": {"noise_hu": [1, x]}}, "phantom"),
        (lambda x: {"phantom": {"nodule_mm": [1, x]}}, "phantom"),
        (lambda x: {"phantom": {"prevalence": {"mass": x}}}, "phantom"),
    ],
)
def test_no_setting_is_infinite_or_no_number(document, key, number):
    assert key in problems_of(document(number))


def test_contradictions_between_sections_are_told_together():
    text = problems_of(
        {
            "explain": {"methods": ["gradcam"], "volumes": ["lung_mass"]},
            "labels": {"names": ["lung_nodule"]},
            "regions": {"reference_mode": "area"},
        }
    )
    assert text.startswith("mine.yaml: 3 problems")


def test_what_goes_together_stays_legal():
    workflow = parse_workflow(
        {
            "explain": {"methods": ["gradcam"], "volumes": ["predicted"], "volume_method": "gradcam"},
            "regions": {"registration": "reference", "reference_mode": "area"},
            "models": {"a": {"mask_loss": {"weight": [0, 1e-5, 20]}}, "a-weight-3": {}},
            "data": {"fractions": {"train": 3, "valid": 1}},
        }
    )
    assert parse_workflow(workflow.document()).document() == workflow.document()


@pytest.mark.parametrize("name", ["phantom", "folder"])
def test_shipped_workflows_and_the_defaults_agree(name):
    assert isinstance(load_workflow(name), Workflow)
    assert parse_workflow({}).models
