"""Save attention maps from any MONAI evaluator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..attention import (
    METHODS,
    AttentionListener,
    AttentionMaps,
    ScanAttention,
    attention_maps,
    scan_attention,
    write_attention,
)
from ..contract import grid_of_layer
from ..data.writers import write_nifti
from ..errors import DataError, did_you_mean
from ..geometry import FeatureGrid
from ..placement import SourceGrid, map_on_source, source_grid_of
from ..runner.atomic import atomic_path
from ..runner.identifiers import id_of_file, safe_id
from .engine_items import engine_items, find_entry, plain

__all__ = ["AttentionSaver", "FileFormat"]

FileFormat = Literal["npz", "nifti", "both"]
Space = Literal["input", "source"]
Choice = Literal["predicted", "present"]


class AttentionSaver:
    """After each iteration of an evaluator compute attention maps of its scans and write them.

    Works with any network and any existing evaluator or bundle; every argument but the network is a plain value. Maps
    are raw and signed. ``npz`` files hold all chosen outputs at the network's own resolution (read them with
    ``organcam.attention.read_attention``); NIfTI files hold one output each, interpolated between the true centres of
    the layer's cells, on the voxels of the scan as it was read (``space="source"``) or of the network's input.

    On the scan's voxels a value of NaN means that the network has not seen the place, because a transform cropped it
    away; 0 means that it has seen it, and that no cell of the layer lies there or that there is no evidence.

    Where the evaluator is MONAI's and runs the network once and in full precision, its own forward pass is explained;
    otherwise the network runs again for each scan. Its training flags, gradients and random state are left as they
    were. With several processes each rank writes its own scans.

    Example, for the ``handlers`` of a bundle's evaluator::

        - _target_: organcam.handlers.AttentionSaver
          network: "@network"
          output_dir: "@output_dir"
          layer: class_layers.relu

    Args:
        network: the evaluator's network.
        output_dir: folder for the files; made if missing.
        method: name of an attention method. Defaults to HiResCAM.
        layer: name of the layer whose maps are wanted; None for the network's own, or that before its linear head.
        targets: index, indices, or names out of ``label_names``, of the wanted outputs; ``"predicted"`` for each scan's
            ``top`` highest; ``"present"`` for those that are true of it (``label_key``); None for all (npz only: eighty
            full-size maps of one scan are 23 GB).
        label_names: names of all outputs; default ``label0``, ``label1``, and so on.
        file_format: ``"npz"``, ``"nifti"``, or ``"both"``: NIfTI of the chosen outputs, and npz of all that were
            computed (all outputs, where targets are ``"predicted"`` or ``"present"``).
        space: whose voxels NIfTI files have: ``"source"``, the scan's as ``LoadImaged`` read it, through whatever
            transforms came after, or ``"input"``, the network's input's.
        top: how many outputs are ``"predicted"``.
        image_key: entry with the network's input. Defaults to ``"image"``.
        label_key: entry with the truth, used with ``"present"``: 0 and 1 for each output, or the index of one.
        id_key: entry with the scan's id. Where there is none, the name of the image's file is taken.
        reference_key: entry with the network's input as a volume, whose file name and place in the patient count, where
            the input itself carries no metadata, as stacked slabs do.
        affine_key: entry with the input's 4 x 4 voxel-to-world matrix (RAS+, mm), needed for NIfTI where the image
            carries no metadata, as stacked slabs do not.
        name: name of the logger; default the engine's.

    Raises:
        ValueError: for an unknown method, layer, target or format; the message names what there is.
    """

    def __init__(
        self,
        network: nn.Module,
        output_dir: str | Path,
        method: str = "hirescam",
        layer: str | None = None,
        targets: Choice | int | Sequence[int | str] | None = None,
        label_names: Sequence[str] | None = None,
        file_format: FileFormat = "npz",
        space: Space = "input",
        top: int = 1,
        image_key: str = "image",
        label_key: str = "label",
        id_key: str = "scan_id",
        reference_key: str | None = None,
        affine_key: str = "affine",
        name: str | None = None,
    ) -> None:
        METHODS.get(method)
        _validate_choice("file_format", file_format, get_args(FileFormat))
        _validate_choice("space", space, get_args(Space))
        if top < 1:
            msg = f"top must be at least 1, got {top}"
            raise ValueError(msg)
        if file_format != "npz" and targets is None:
            msg = "name the targets to write as NIfTI: each is a full-size volume"
            raise ValueError(msg)
        self.network = network
        self.output_dir = Path(output_dir)
        self.method = method
        self.layer = layer
        self.label_names = None if label_names is None else tuple(label_names)
        self.choice = targets if isinstance(targets, str) and targets in get_args(Choice) else None
        self.targets = None if self.choice else _parse_targets(targets, self.label_names)
        self.file_format = file_format
        self.space = space
        self.top = top
        self.label_key = label_key
        self.image_key = image_key
        self.id_key = id_key
        self.reference_key = image_key if reference_key is None else reference_key
        self.affine_key = affine_key
        self.logger = logging.getLogger(name)
        self._name = name
        self._written: dict[str, str] = {}
        self._listener = self._make_listener()
        self._of_batch: AttentionMaps | None = None

    def _make_listener(self) -> AttentionListener | None:
        """What explains the evaluator's own pass; None where the layer is yet to be found in a pass of its own."""
        try:
            return AttentionListener(self.network, method=self.method, targets=self.targets, layer=self.layer)
        except ValueError:
            if self.layer is not None:
                raise
            return None

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator (of every rank, so to the validation handlers, not the training ones)."""
        if self._name is None:
            self.logger = engine.logger
        if not engine.has_event_handler(self, Events.ITERATION_COMPLETED):
            engine.add_event_handler(Events.EPOCH_STARTED, self.reset)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)
            if isinstance(engine, Evaluator) and self._listener is not None:  # its own forward pass will do
                engine.add_event_handler(Events.ITERATION_STARTED, self._listen)
                engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._explain)
                engine.add_event_handler(Events.EXCEPTION_RAISED, self._give_up)

    def reset(self, engine: Engine) -> None:  # noqa: ARG002
        """Forget which ids have been written; a new run replaces the files of the last."""
        self._written.clear()

    def _listen(self, engine: Evaluator) -> None:
        self._of_batch = None
        if self._listener is not None and not engine.amp:  # maps are made in the network's own precision
            self._listener.start()

    def _explain(self, engine: Evaluator) -> None:
        """Maps of the evaluator's own forward pass; where it is no plain one, the network runs again for each scan."""
        assert self._listener is not None
        self._listener.stop()
        output = engine.state.output
        try:
            if not engine.amp:
                self._of_batch = self._listener.maps(output[CommonKeys.IMAGE], output[CommonKeys.PRED])
        except (ValueError, TypeError) as error:
            self.logger.debug("the evaluator's own forward pass cannot be explained: %s", error)
        finally:
            output[CommonKeys.PRED] = tree_map_only(Tensor, Tensor.detach, output[CommonKeys.PRED])

    def _give_up(self, engine: Engine, error: Exception) -> None:  # noqa: ARG002
        if self._listener is not None:
            self._listener.stop()
        raise error

    def __call__(self, engine: Engine) -> None:
        """Save the maps of every scan of the iteration.

        Raises:
            DataError: if two scans have the same id, or an id cannot be a file name.
            KeyError: if the image, the id or the affine is nowhere.
        """
        items = engine_items(engine.state, self._keys())
        done, self._of_batch = self._of_batch, None
        for number, item in enumerate(items):
            image = find_entry(item, self.image_key, "the network's input")
            volume = find_entry(item, self.reference_key, "the input as a volume")
            scan_id = self._scan_id(item, volume)
            pixels = plain(image)[None]
            if done is not None and len(done.values) == len(items):
                maps, place = done, number
            else:
                maps = attention_maps(self.network, pixels, method=self.method, targets=self.targets, layer=self.layer)
                place = 0
            labels = [self._label_name(target) for target in maps.targets if isinstance(target, int)]
            found = scan_attention({self.method: maps}, place, labels)
            chosen = found if self.choice is None else _only(found, self._chosen(found, item))
            if self.file_format != "nifti":
                self._save_npz(scan_id, found if self.file_format == "both" else chosen)
            if self.file_format != "npz":
                grid = maps.grid or grid_of_layer(self.network, maps.layer, tuple(pixels.shape[1:]))
                self._save_nifti(scan_id, chosen, grid, item, volume)

    def _keys(self) -> tuple[str, ...]:
        return (self.image_key, self.reference_key, self.id_key, self.affine_key, self.label_key)

    def _chosen(self, found: ScanAttention, item: dict[Any, Any]) -> list[int]:
        """Outputs that are predicted of a scan, or true of it."""
        count = len(found.labels)
        if self.choice == "predicted":
            return np.argsort(-found.scores, kind="stable")[: self.top].tolist()
        truth = plain(find_entry(item, self.label_key, "what is true of the scan")).flatten()
        if len(truth) == 1 and count > 1:
            return [int(truth)]
        if len(truth) != count:
            msg = f"{self.label_key!r} has {len(truth)} values, the network {count} outputs: which of them are present?"
            raise DataError(msg)
        return (truth > 0.5).nonzero().flatten().tolist()

    def _save_npz(self, scan_id: str, found: ScanAttention) -> None:
        with atomic_path(self.output_dir / f"{scan_id}.npz") as path, path.open("wb") as stream:
            write_attention(stream, found)
        self.logger.info("wrote attention of %s", scan_id)

    def _save_nifti(
        self, scan_id: str, found: ScanAttention, grid: FeatureGrid, item: dict[Any, Any], image: Any
    ) -> None:
        if grid.axes != 3:
            msg = f"maps with {grid.axes} axes cannot be NIfTI volumes; use file_format='npz'"
            raise ValueError(msg)
        affine = self._affine(item, image)
        source = source_grid_of(image) if self.space == "source" else SourceGrid(grid.input_shape, affine)
        for cells, label in zip(found.maps[self.method], found.labels, strict=True):
            name = safe_id(f"{scan_id}_{label}", "file name")
            with atomic_path(self.output_dir / f"{name}.nii.gz") as path:
                volume = map_on_source(cells, grid, affine, source)
                write_nifti(path, volume.array, volume.affine)
        self.logger.info("wrote attention of %s", scan_id)

    def _label_name(self, label: int) -> str:
        return f"label{label}" if self.label_names is None else self.label_names[label]

    def _scan_id(self, item: dict[Any, Any], image: Any) -> str:
        source = str(getattr(image, "meta", {}).get("filename_or_obj", ""))
        if self.id_key in item:
            value = item[self.id_key]
            scan_id = safe_id(str(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value))
        elif source:
            scan_id = safe_id(id_of_file(source))
        else:
            msg = f"which scan is this? There is no entry {self.id_key!r}, and no file name in the image's metadata"
            raise KeyError(msg)
        if scan_id in self._written:
            msg = (
                f"two scans are called {scan_id!r} ({self._written[scan_id]!r} and {source!r}) and would replace each "
                f"other; put a unique id into the entry {self.id_key!r}"
            )
            raise DataError(msg)
        self._written[scan_id] = source
        return scan_id

    def _affine(self, item: dict[Any, Any], image: Any) -> NDArray:
        affine = item.get(self.affine_key, getattr(image, "affine", None))
        if affine is None:
            msg = f"NIfTI needs the input's affine: an entry {self.affine_key!r}, or an image with metadata"
            raise KeyError(msg)
        return plain(affine).cpu().numpy().astype(np.float64)


def _only(found: ScanAttention, rows: list[int]) -> ScanAttention:
    """Some of a scan's maps."""
    maps = {method: values[rows] for method, values in found.maps.items()}
    return replace(found, maps=maps, scores=found.scores[rows], labels=tuple(found.labels[row] for row in rows))


def _parse_targets(
    targets: str | int | Sequence[int | str] | None, names: tuple[str, ...] | None
) -> tuple[int, ...] | None:
    if targets is None:
        return None
    listed = [targets] if isinstance(targets, (int, str)) else targets
    return tuple(_parse_target(target, names) for target in listed)


def _parse_target(target: int | str, names: tuple[str, ...] | None) -> int:
    if isinstance(target, int):
        return target
    if names is None:
        msg = (
            f"target {target!r} is a name, which needs label_names; without names there are indices, "
            f"{' and '.join(repr(choice) for choice in get_args(Choice))}"
        )
        raise ValueError(msg)
    _validate_choice("target", target, (*names, *get_args(Choice)))
    return names.index(target)


def _validate_choice(what: str, value: str, legal: Any) -> None:
    if value not in legal:
        msg = f"unknown {what} {value!r}: {did_you_mean(str(value), legal)}"
        raise ValueError(msg)
