"""A small finished run, written file by file as the stages write it: two models, six scans, a chest of ellipsoids."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from organcam.config import Workflow
from organcam.data.network_input import grid_key, grid_on_scan, input_affine
from organcam.data.region_store import write_regions
from organcam.data.volume_store import write_stored
from organcam.data.writers import write_nifti
from organcam.geometry import FeatureGrid
from organcam.runner import SilentProgress, fingerprint_file, make_executor, write_json_atomic
from organcam.segmentation.regions.bitmaps import organ_regions
from organcam.stages.evaluate import plan_evaluate
from organcam.stages.explain import plan_explain
from organcam.stages.grids import grids_of_models
from organcam.stages.parse import plan_parse
from organcam.stages.regions import plan_regions
from organcam.stages.report import run_report
from organcam.stages.run import Run
from organcam.stages.segment import plan_segment
from organcam.stages.store import plan_store
from organcam.stages.train import plan_candidates, plan_choice
from organcam.workflow_file import parse_workflow

SHAPE, SPACING = (28, 66, 80), (8.0, 5.0, 4.5)
GRID = FeatureGrid((10, 8, 8), (3.0, 8.0, 8.0), (1.0, 3.5, 3.5), (3, 31, 31), (30, 64, 64))
LABELS = ("lung_nodule", "lung_pleural_effusion", "h_great_vessel_atherosclerosis", "heart_cardiomegaly")
MODELS = ("baseline", "masked")
OPENING = "CT chest without contrast. "
SPLITS = {"s1": "train", "s2": "valid", "s3": "test", "s4": "test", "s5": "shifted", "s6": "intervention"}


def network_affine() -> np.ndarray:
    """Axes I, P, L with `SPACING`; the first voxel is the patient's upper, front, right corner."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = -SPACING[0], -SPACING[1], -SPACING[2]
    affine[:, 3] = (170.0, 160.0, 110.0, 1.0)
    return affine


def chest() -> tuple[np.ndarray, np.ndarray]:
    """HU and organ labels: air, an elliptic body, two lungs (the patient's right one in low columns), a heart."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[(y / 0.75) ** 2 + (x / 0.9) ** 2 < 1] = 40
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, side in ((1, -1), (2, 1)):
        inside = (z / 0.9) ** 2 + (y / 0.5) ** 2 + ((x - side * 0.42) / 0.33) ** 2 < 1
        hu[inside], labels[inside] = -850, value
    heart = ((z - 0.2) / 0.5) ** 2 + ((y + 0.15) / 0.3) ** 2 + ((x - 0.08) / 0.2) ** 2 < 1
    hu[heart], labels[heart] = 50, 3
    return hu, labels


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """``make_run(reports=False, ...)``: the run without its pages; parts that are False are left out."""
    return partial(_build, tmp_path)


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole run with its pages; only to be looked at."""
    run = _build(tmp_path_factory.mktemp("reported"))
    run_report(run)
    return run


def _build(folder: Path, name: str = "run", sentence: str = "A nodule in the right lung.", **parts: Any) -> Run:
    root = folder / name
    wanted = {"reports": True, "evaluation": True, "interventions": True, "lesions": True, "organs": True, **parts}
    workflow = _workflow(folder, wanted)
    _write_scans(root, wanted)
    if wanted["reports"]:
        _write_labels(root, sentence)
        _write_models(root)
    if wanted["lesions"]:
        _write_lesions(folder)
    if wanted["evaluation"]:
        _write_evaluation(root, wanted["interventions"])
    run = Run(workflow, root, make_executor("serial"), SilentProgress())
    if wanted["reports"] and wanted["organs"]:
        settle(run, evaluation=wanted["evaluation"])
    return run


def settle(run: Run, *, evaluation: bool = True) -> None:
    """Sidecars that say of every file there is that it is what the workflow of the run makes."""
    place = {"shape": list(SHAPE), "affine": network_affine().tolist()}
    for scan_id in SPLITS:
        _sidecar(run.root / "scans", "ingest", scan_id, "", {"content": f"sha256:{scan_id}"})
    flags = [{"name": "cut", "sentence": "the <left> lung is cut"}]
    organs = {name: {"quality": {"ok": name != "s4", "flags": flags if name == "s4" else []}} for name in SPLITS}
    grids = {grid_key(grid): "content" for grid in grids_of_models(run.workflow).values()}
    judged = {"labels": list(LABELS), "auroc_median": 0.95, "organ_iou": 0.7, "epochs": 6}
    makers: list[tuple[Any, ...]] = [
        (plan_parse, (), {}),
        (plan_segment, (), organs),
        (plan_store, (), {name: {**place, "scan_shape": SHAPE, "scan_affine": place["affine"]} for name in SPLITS}),
        (plan_regions, (), {name: {"rough": False, "grids": grids} for name in SPLITS}),
        (plan_candidates, (), dict.fromkeys(("baseline", "masked-weight-5", "masked-weight-10"), judged)),
        *((plan_choice, (model,), {model: judged}) for model in MODELS),
        *((plan_explain, (model,), {}) for model in MODELS),
        *([(plan_evaluate, (), {"evaluation": {"problems": [], "notes": []}})] if evaluation else []),
    ]
    for maker, arguments, details in makers:
        plan = run.plan(maker, *arguments)
        for unit in plan.units:
            _sidecar(plan.spec.folder, plan.spec.name, unit.id, plan.spec.key(unit), details.get(unit.id, {}))
    run.begin(run.failures)


def _sidecar(folder: Path, stage: str, name: str, key: str, details: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    ours = {"reports": "*.csv", "evaluation": "*.csv"}.get(name, "*" if name in MODELS else f"{name}[._]*")
    files = sorted(path for path in folder.glob(ours) if path.is_file() and path.suffix != ".json")
    files += [folder / "summary.json"] if name == "evaluation" else []
    outputs = {
        path.name: {"bytes": path.stat().st_size, "sha256": fingerprint_file(path).removeprefix("sha256:")}
        for path in files
    }
    document = {"stage": stage, "id": name, "key": key, "inputs": {"scan": name}, "outputs": outputs}
    write_json_atomic(folder / f"{name}.json", {**document, "details": details})


def _workflow(folder: Path, wanted: dict[str, Any]) -> Workflow:
    data: dict[str, Any] = {"images": "images"}
    if wanted["reports"]:
        data["reports"] = str(folder / "reports.csv")
    if wanted["lesions"]:
        data["lesions"] = str(folder / "lesions.csv")
    return parse_workflow(
        {
            "name": "small run",
            "data": data,
            "input": {"shape": list(GRID.input_shape)},
            "network": {"backbone": "small", "head": "registered"},
            "models": {"baseline": {}, "masked": {"mask_loss": {"weight": [5, 10]}}},
            "report": {"scans": wanted.get("pages", 1), "labels": 2},
        }
    )


def _write_scans(root: Path, wanted: dict[str, Any]) -> None:
    hu, labels = chest()
    hu[14, 30, 20] = 300  # a bright voxel in the patient's right lung
    affine = network_affine()
    for folder in ("organs", "volumes", "regions", *(f"attention/{model}" for model in MODELS)):
        (root / folder).mkdir(parents=True)
    grid = grid_on_scan(GRID, input_affine(affine, SHAPE, GRID.input_shape), affine, SHAPE)
    regions = organ_regions(labels, grid)
    reports = wanted["reports"]
    rows = [
        {"scan_id": n, "image": f"{n}.nii.gz", "patient_id": n, "split": s, "report_id": n if reports else ""}
        for n, s in {**SPLITS, **wanted.get("splits", {})}.items()
    ]
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    for position, name in enumerate(SPLITS):
        write_stored(root / "volumes" / f"{name}.b2nd", hu)
        if wanted["organs"]:
            write_nifti(root / "organs" / f"{name}_organs.nii.gz", labels, affine)
        with (root / "regions" / f"{name}.npz").open("wb") as stream:
            write_regions(stream, {grid_key(GRID): regions})
        for shift, model in enumerate(MODELS):
            _write_attention(root / "attention" / model / f"{name}.npz", position + 10 * shift)
    if wanted["organs"]:
        quality = [
            {
                "scan_id": n,
                "ok": n != "s4",
                "explanation": "the <left> lung is cut" if n == "s4" else "",
                "lungs_ml": 4000 + i,
            }
            for i, n in enumerate(SPLITS)
        ]
        pd.DataFrame(quality).to_csv(root / "organs" / "quality.csv", index=False)


def _write_attention(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 0.05, (len(LABELS), *GRID.shape)).astype(np.float32)
    maps[0, 5, 3, 1] = 2.0 if seed < 10 else 1.0
    np.savez(
        path,
        hirescam=maps,
        gradcam=-maps,  # another map altogether: a page that shows the wrong one is noticed
        scores=rng.normal(0, 2, len(LABELS)).astype(np.float32),
        labels=np.asarray(LABELS),
        grid=np.asarray(json.dumps(GRID.to_dict())),
    )


def _write_labels(root: Path, sentence: str) -> None:
    (root / "labels").mkdir()
    cells = {"nodule*right_lung": 1, "atherosclerosis*aorta": [1, 0, 1, 0, 1, 0], "cardiomegaly*heart": 0}
    pd.DataFrame({"report_id": list(SPLITS), **cells}).to_csv(root / "labels" / "labels_by_location.csv", index=False)
    rows = [
        {
            "report_id": name,
            "abnormality": "nodule",
            "location": place,
            "status": "present",
            "section": "findings",
            "sentence": 1,
            "start": len(OPENING) + sentence.lower().index("nodule"),
            "end": len(OPENING) + sentence.lower().index("nodule") + len("nodule"),
        }
        for name in SPLITS
        for place in ("right_lung", "lung")
    ]
    pd.DataFrame(rows).to_csv(root / "labels" / "findings.csv", index=False)
    texts = {"scan_id": list(SPLITS), "report_text": f"{OPENING}{sentence} No effusion."}
    pd.DataFrame(texts).to_csv(root.parent / "reports.csv", index=False)


def _write_lesions(folder: Path) -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[13:16, 28:33, 18:23] = 4
    write_nifti(folder / "lesions.nii.gz", mask, network_affine())
    row = {"scan_id": "s3", "value": 4, "abnormality": "nodule", "location": "right_lung", "mask": "lesions.nii.gz"}
    pd.DataFrame([row]).to_csv(folder / "lesions.csv", index=False)


def _write_models(root: Path) -> None:
    (root / "models" / "candidates").mkdir(parents=True)
    for candidate in ("baseline", "masked-weight-5", "masked-weight-10"):
        for ending in (".pt", ".csv"):
            (root / "models" / "candidates" / f"{candidate}{ending}").write_text(candidate)
    for shift, model in enumerate(MODELS):
        folder = root / "models" / model
        folder.mkdir(parents=True)
        (folder / "model.pt").write_text(model)
        epochs = np.arange(1, 7)
        table = {"epoch": epochs, "learning_rate": 1e-3, "train_loss": 1 / epochs, "valid_loss": 1.2 / epochs}
        pd.DataFrame({**table, "valid_auroc": 0.9 + 0.01 * shift}).to_csv(folder / "metrics.csv", index=False)
    selection = {
        "weight": [5.0, 10.0],
        "auroc_median": [0.95, 0.96],
        "organ_iou": [0.71, 0.82],
        "chosen": [False, True],
    }
    pd.DataFrame(selection).to_csv(root / "models" / "masked" / "selection.csv", index=False)


def _write_evaluation(root: Path, interventions: bool) -> None:
    folder, rng = root / "evaluation", np.random.default_rng(3)
    folder.mkdir()
    overlap, scored = [], []
    summary: dict[str, Any] = {"learned": list(LABELS[:2]), "models": {}}
    for model in MODELS:
        splits: dict[str, Any] = {}
        for split in ("valid", "test", "shifted"):
            means: dict[str, float] = {}
            for method in ("gradcam", "hirescam"):
                names = [("overall", "overall"), ("group", "lung"), ("group", "heart"), *(("label", x) for x in LABELS)]
                for by, name in names:
                    mean = float(rng.uniform(0.4, 0.9))
                    row = {"model": model, "method": method, "split": split, "by": by, "name": name, "mean": mean}
                    overlap.append({**row, "std": 0.1, "count": 7})
                    means.setdefault(method, mean)
            for label in LABELS:
                auroc = np.nan if label == "heart_cardiomegaly" else float(rng.uniform(0.6, 1.0))
                row = {"model": model, "split": split, "label": label, "auroc": auroc}
                scored.append({**row, "average_precision": auroc, "positives": 3, "scans": 9})
            splits[split] = {
                "auroc_median": float(rng.uniform(0.7, 1)),
                "average_precision_median": float(rng.uniform(0.5, 1)),
                "organ_iou": means,
                "pointing": {"gradcam": 0.25, "hirescam": float(rng.uniform(0.3, 0.9))},
            }
        learned = {"gradcam": float(rng.uniform(0.4, 0.9)), "hirescam": float(rng.uniform(0.4, 0.9))}
        summary["models"][model] = {
            "split": "test",
            **splits["test"],
            "splits": splits,
            "organ_iou_learned": learned,
            "organ_iou_ratio": {method: value / 0.4 for method, value in learned.items()},
        }
    pd.DataFrame(overlap).to_csv(folder / "organ_iou.csv", index=False)
    pd.DataFrame(scored).to_csv(folder / "classification.csv", index=False)
    (folder / "summary.json").write_text(json.dumps(summary))
    if interventions:
        changes = {("baseline", "lesion"): 5.3, ("baseline", "confounder"): 9.3}
        changes |= {("masked", "lesion"): 3.9, ("masked", "confounder"): 2.6}
        rows = [
            {
                "model": model,
                "label": "h_great_vessel_atherosclerosis",
                "inserted": thing,
                "mean_change": change,
                "mean_absolute_change": change,
                "pairs": 12,
            }
            for (model, thing), change in changes.items()
        ]
        pd.DataFrame(rows).to_csv(folder / "interventions.csv", index=False)
