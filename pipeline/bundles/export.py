"""A trained model of a run as a MONAI bundle: what it was trained on is what it is given, from the scan's file on."""

from __future__ import annotations

import json
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from ..config import Workflow
from ..contract import contract_of, slices_of_slab
from ..errors import ConfigError, did_you_mean
from ..networks import NETWORKS
from ..runner.atomic import atomic_path, write_json_atomic, write_text_atomic
from ..stages.explain import LoadedModel, load_model
from ..version import __version__
from ..workflow_file import load_workflow

__all__ = ["choose_model", "export_bundle", "preprocessing_of"]

README = """# {name}

{count} labels of chest CT, from the model `{model}` of a run of organcam {version}. Research software, not a medical
device.

```bash
pip install organcam fire
python -m monai.bundle run --config_file configs/inference.yaml --dataset_dir FOLDER
```

`FOLDER` holds scans (`*.nii.gz`). For each of them `attention/<scan>.npz` gets scores and raw signed HiResCAM maps of
all labels at the network's resolution (`organcam.attention.read_attention` reads it), and
`attention/<scan>_<label>.nii.gz` the map of its highest label on the scan's own voxels; NaN marks what the network has
not seen. Words at the end of the command change what is done: `--top 5`, `--method gradcam`, `--output_dir maps`.
"""


def export_bundle(run: str | Path, out: str | Path, model: str | None = None) -> Path:
    """Write a bundle: configs, weights and a page about them.

    Args:
        run: run directory with a trained model.
        out: folder of the bundle, which must not be there or be empty.
        model: name of the model; None where the run has one only, or has one named "masked".

    Returns:
        The folder.

    Raises:
        ConfigError: for a run without such a model, a folder in use, or a network that needs more than the scan.
        OrganCamError: if the model cannot be read.
    """
    root, folder = Path(run), Path(out)
    name = choose_model(root, model)
    if folder.is_dir() and any(folder.iterdir()):
        msg = f"{folder} is not empty; a bundle is written to a folder of its own"
        raise ConfigError(msg)
    loaded = load_model(root / "models" / name / "model.pt", "cpu")
    if loaded.places is not None:
        msg = f"the network of {name!r} takes each scan's organs too, which a bundle's inference does not make"
        raise ConfigError(msg)
    workflow = load_workflow(str(root / "workflow.yaml"))
    write_json_atomic(folder / "configs" / "metadata.json", _metadata(loaded, name))
    header = "# Written by organcam export-bundle; the very preprocessing that the model was trained with.\n"
    text = yaml.safe_dump(_inference(loaded, workflow), sort_keys=False, width=120)
    write_text_atomic(folder / "configs" / "inference.yaml", header + text)
    with atomic_path(folder / "models" / "model.pt") as temporary:
        torch.save(loaded.network.state_dict(), temporary)
    page = README.format(name=folder.name, model=name, count=len(loaded.labels), version=__version__)
    write_text_atomic(folder / "docs" / "README.md", page)
    return folder


def choose_model(root: Path, model: str | None) -> str:
    """The model of a run that is meant; see ``export_bundle``."""
    names = sorted(path.parent.name for path in (root / "models").glob("*/model.pt"))
    if not names:
        msg = f"{root} holds no trained model (models/NAME/model.pt): train first"
        raise ConfigError(msg)
    if model is None:
        if len(names) > 1 and "masked" not in names:
            msg = f"{root} holds several models: name one of {', '.join(names)}"
            raise ConfigError(msg)
        return "masked" if "masked" in names else names[0]
    if model not in names:
        msg = f"{root} has no trained model {model!r}: {did_you_mean(model, names)}"
        raise ConfigError(msg)
    return model


def preprocessing_of(loaded: LoadedModel, workflow: Workflow) -> list[dict[str, Any]]:
    """Transforms from a scan's file to the network's input, as a configuration holds them.

    Where slabs are stacked, "volume" keeps the input as a volume that knows its place.
    """
    steps: list[dict[str, Any]] = [
        {
            "_target_": "organcam.transforms.LoadScand",
            "keys": "image",
            "spacing_mm": _listed(workflow.store.spacing_mm),
            "clip_hu": _listed(workflow.store.clip_hu),
        },
        {"_target_": "organcam.transforms.PadOrCropAird", "keys": "image", "shape": _listed(loaded.input.shape)},
        {
            "_target_": "organcam.transforms.HUWindowd",
            "keys": "image",
            "lower": loaded.input.window_hu[0],
            "upper": loaded.input.window_hu[1],
        },
    ]
    if contract_of(loaded.network).input_layout == "slabs":
        steps += [
            {"_target_": "CopyItemsd", "keys": "image", "names": "volume"},
            {"_target_": "organcam.transforms.SlabStackd", "keys": "image", "slices": slices_of_slab(loaded.network)},
        ]
    return steps


def _inference(loaded: LoadedModel, workflow: Workflow) -> dict[str, Any]:
    options = {key: value for key, value in loaded.options.items() if key != "name"}
    builder = NETWORKS.get(loaded.options.get("name", "axialnet"))
    steps = preprocessing_of(loaded, workflow)
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/attention'",
        "method": "hirescam",
        "top": 1,
        "labels": list(loaded.labels),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": f"{builder.__module__}.{builder.__qualname__}",
            "num_labels": len(loaded.labels),
            "input_shape": _listed(loaded.input.shape),
            **options,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            },
            {
                "_target_": "organcam.handlers.AttentionSaver",
                "network": "@network",
                "output_dir": "@output_dir",
                "method": "@method",
                "label_names": "@labels",
                "targets": "predicted",
                "top": "@top",
                "file_format": "both",
                "space": "source",
                **({"reference_key": "volume"} if len(steps) > 3 else {}),
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": ["$@dataset"],
        "run": ["$@evaluator.run()"],
    }


def _metadata(loaded: LoadedModel, name: str) -> dict[str, Any]:
    depth, height, width = loaded.input.shape
    slabs, slices = contract_of(loaded.network).input_layout == "slabs", slices_of_slab(loaded.network)
    channels, size = (depth // slices, [slices, height, width]) if slabs else (1, [depth, height, width])
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": f"model {name} of a run of organcam {__version__}, {date.today().isoformat()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"organcam": __version__, "pytorch-ignite": version("pytorch-ignite")},
        "task": "Chest CT classification with attention",
        "description": f"{len(loaded.labels)} labels of chest CT with attention of each. Not a medical device.",
        "authors": "organcam",
        "copyright": "Apache-2.0",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": f"slabs of {slices} slices" if slabs else "hounsfield",
                    "modality": "CT",
                    "num_channels": channels,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(one): "image" for one in range(channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    "format": "classes",
                    "num_channels": len(loaded.labels),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(place): label for place, label in enumerate(loaded.labels)},
                }
            },
        },
    }


def _listed(values: Any) -> Any:
    """Plain JSON types, as a configuration holds them."""
    return json.loads(json.dumps(values))
