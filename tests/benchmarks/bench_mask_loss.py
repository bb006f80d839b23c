"""The tables of ``docs/mask_loss.md``: what the mask loss does, what its gain comes from, and where that stops.

    python tests/benchmarks/bench_mask_loss.py ladder --out runs/mask_loss [--seeds 0 1] [--phantoms centred off_centre]
    python tests/benchmarks/bench_mask_loss.py forms --out runs/mask_loss [--seeds 0 1]
    python tests/benchmarks/bench_mask_loss.py print --out runs/mask_loss

``ladder`` runs `workflows/experiments/mask_ladder_<phantom>.yaml`; ``forms`` trains every form of the loss with every
treatment of absent labels on the centred phantoms, in the same run. Each weight of ``--weights`` and each weight decay
of ``--decays`` is tried, for the baseline too, and a model takes its best on the validation split. Results that are
there are not made again, a run that was stopped goes on; ``print`` makes the tables of what is there. Nothing is
asserted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

PHANTOMS = (
    "centred",
    "off_centre",
    "turned",
    "cropped",
    "raised_domes",
    "small_lung",
    "small_findings",
    "one_sided",
    "5mm",
    "2mm",
)
FORMS: dict[str, dict[str, Any]] = {
    **{
        f"{form}_{absent}": {"form": form, "absent": absent, "ramp": 0.1}
        for form in ("absolute", "softplus", "l2")
        for absent in ("forbidden", "outside", "ignored")
    },
    "absolute_smooth_outside": {"form": "absolute", "smoothing": 0.05, "absent": "outside", "ramp": 0.1},
    "published": {"form": "softplus", "reduction": "mean", "absent": "forbidden", "weight": 0.3333333, "ramp": 0.0},
    "energy": {"form": "energy", "ramp": 0.1},
    "l1": {"form": "l1", "ramp": 0.1},
}
"""Model -> its mask loss; the weight is that of ``--weights`` where none stands here."""

GENTLE = ("energy", "l1")
"""Losses in [0, 1], which take a thirtieth of the weights."""

RUNGS = ("baseline", "own", "permuted", "atlas", "shuffled", "swapped", "masked_pooling")
FIGURES = ("organ_iou", "pointing", "auroc_median", "auroc_shifted", "confounder", "lesion")
HEADINGS = ("OrganIoU", "pointing", "AUROC", "AUROC shifted", "confounder moves", "lesion moves")


def settings_of(chosen: argparse.Namespace, phantom: str, seed: int) -> list[str]:
    """The size and search of a run over the shipped workflow's."""
    sizes = [f"{split}: {getattr(chosen, split)}" for split in ("train", "valid", "test")]
    settings = [
        f"seed={seed}",
        f"phantom.seed={seed}",
        "report.scans=2",
        f"train.parallel={chosen.workers > 1}".lower(),
    ]
    if chosen.train:
        settings.append(f"phantom.scans={{{', '.join(sizes)}, shifted: {chosen.test}}}")
    if chosen.epochs:
        settings += [f"train.epochs={chosen.epochs}", f"train.validate_every={chosen.epochs}"]
    decays = f"{{weight_decay: {json.dumps(chosen.decays)}}}" if len(chosen.decays) > 1 else "{}"
    settings += [f"train.weight_decay={chosen.decays[0]}", f"search={decays}"]
    settings = [setting for setting in settings if phantom not in ("5mm", "2mm") or "scans=" not in setting]
    return [*settings, *chosen.set]


def ladder_models(phantom: str, weights: Sequence[float]) -> dict[str, Any]:
    """The models of a shipped ladder, their mask losses with these weights."""
    models = load_workflow(workflow_of(phantom)).document()["models"]
    for model in models.values():
        if model["mask_loss"]:
            model["mask_loss"]["weight"] = list(weights) if len(weights) > 1 else weights[0]
    return models


def form_models(weights: Sequence[float]) -> dict[str, Any]:
    """A model for every form of the loss."""
    models = {}
    for name, loss in FORMS.items():
        own = [weight / 30 for weight in weights] if name in GENTLE else list(weights)
        models[name] = {"mask_loss": {"weight": own if len(own) > 1 else own[0], **loss}}
    return models


def workflow_of(phantom: str) -> str:
    """Name of the shipped ladder of these phantoms."""
    return "experiments/mask_ladder" + ("" if phantom == "centred" else f"_{phantom}")


def make(part: str, phantom: str, seed: int, chosen: argparse.Namespace) -> None:
    """Run a workflow, and keep its figures."""
    result = chosen.out / "results" / f"{part}-{phantom}-{seed}.json"
    if result.is_file():
        return
    models = {name: model for name, model in ladder_models(phantom, chosen.weights).items() if name in chosen.models}
    if part == "forms":
        models |= {name: form_models(chosen.weights)[name] for name in chosen.only}
    settings = [*settings_of(chosen, phantom, seed), f"models={json.dumps(models)}"]
    folder = chosen.out / f"{phantom}-{seed}"
    outcome = run_workflow(load_workflow(workflow_of(phantom), settings), folder, workers=chosen.workers)
    if outcome.exit_code not in (0, 3):
        raise SystemExit(outcome.exit_code)
    figures = json.loads((folder / "evaluation" / "summary.json").read_text("utf-8"))
    ladder = pd.read_csv(folder / "evaluation" / "ladder.csv")
    weights = {model: weight_of(folder / "models" / model / "selection.csv") for model in figures["models"]}
    document = {
        "settings": settings[:-1],
        "sentence": figures["ladder"][0]["sentence"],
        "ladder": ladder.to_dict("records"),
        "weights": weights,
        "models": {model: row_of(found) for model, found in figures["models"].items()},
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(document, indent=1, default=str), "utf-8")


def weight_of(path: Path) -> float | None:
    """The chosen one."""
    table = pd.read_csv(path)
    weight = table.loc[table["chosen"], "weight"].iloc[0]
    return None if pd.isna(weight) else float(weight)


def row_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the tables, of HiResCAM on the test split; interventions are means over the confounded labels."""
    moved = found.get("interventions", {}).values()
    return {
        "organ_iou": found["organ_iou"]["hirescam"],
        "organ_iou_gradcam": found["organ_iou"]["gradcam"],
        "pointing": found["pointing"]["hirescam"],
        "auroc_median": found["auroc_median"],
        "auroc_shifted": found["splits"]["shifted"]["auroc_median"],
        **{thing: mean(each[thing] for each in moved) for thing in ("confounder", "lesion")},
    }


def print_tables(out: Path) -> None:
    """Everything that is there, as Markdown."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((out / "results").glob("*.json"))}
    for part in ("ladder", "forms"):
        for phantom in PHANTOMS:
            runs = {name: run for name, run in found.items() if name.rpartition("-")[0] == f"{part}-{phantom}"}
            if runs:
                print_part(f"{part}, {phantom}", runs)


def print_part(title: str, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Means over seeds of every model; the interval of the ladder is that of the first seed."""
    seeds = [name.rpartition("-")[2] for name in runs]
    first = next(iter(runs.values()))
    print(f"\n**{title}** (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}; {', '.join(first['settings'])})\n")
    print(f"| model | weight | {' | '.join(HEADINGS)} | own masks above it in OrganIoU |")
    print(f"|---|---|{'---|' * (len(HEADINGS) + 1)}")
    gains = {row["model"]: row for row in first["ladder"] if row["figure"] == "organ_iou"}
    for model in first["models"]:
        rows = [run["models"][model] for run in runs.values() if model in run["models"]]
        weights = sorted({run["weights"][model] for run in runs.values()} - {None})
        numbers = [spread([row[name] for row in rows]) for name in FIGURES]
        gain = gains.get(model)
        known = gain is not None and not pd.isna(gain["gain"])
        above = f"{gain['gain']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})" if known else ""
        print(f"| `{model}` | {', '.join(f'{w:g}' for w in weights)} | {' | '.join(numbers)} | {above} |")
    for name, run in runs.items():
        print(f"\n{name}: {run['sentence']}")


def spread(values: Iterable[float]) -> str:
    """Mean, and the ends where there are several."""
    known = list(values)
    text = f"{mean(known):.3f}"
    return text if len(known) == 1 else f"{text} ({min(known):.3f} to {max(known):.3f})"


def main() -> None:
    """Make what is missing, then print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("ladder", "forms", "print"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--phantoms", nargs="+", choices=PHANTOMS, default=list(PHANTOMS))
    parser.add_argument("--weights", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--decays", type=float, nargs="+", default=[0.001, 0.03])
    parser.add_argument("--train", type=int, help="scans, with --valid and --test; the workflow's where it is left out")
    parser.add_argument("--valid", type=int, default=60)
    parser.add_argument("--test", type=int, default=100, help="and as many with the confounders shifted")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--models", nargs="+", choices=RUNGS, default=list(RUNGS), help="rungs to train")
    parser.add_argument("--only", nargs="+", choices=FORMS, default=list(FORMS), help="forms to train")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings over the workflow's")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    for seed in chosen.seeds if chosen.part != "print" else ():
        for phantom in chosen.phantoms if chosen.part == "ladder" else ("centred",):
            make(chosen.part, phantom, seed, chosen)
    print_tables(chosen.out)


if __name__ == "__main__":
    main()
