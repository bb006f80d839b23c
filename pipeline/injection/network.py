"""A network that explains itself whenever it is called."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..attention import METHODS, AttentionListener, AttentionMaps, attention_maps, positive_part, scale_to_one
from ..attention.methods import place_of
from ..contract import contract_of
from ..errors import ConfigError
from ..modules import find_module, unwrap
from .calls import as_inputs, is_plain_inference
from .evaluation import Evaluator, Metric
from .labels import Label, Wanted, is_segmentation, scores_by_label, wanted_maps
from .layers import automatic_layers, map_layers
from .options import BACKENDS, InjectionOptions
from .saving import item_names, save_npz, save_pictures

__all__ = ["InjectedNetwork", "get_layers", "inject"]

logger = logging.getLogger(__name__)


OF_LAYERS = ("layer", "guided layer")
"""Where methods look that explain a layer of one's choice; others look at the input, or at the one layer they can."""

Explained = tuple[Any, dict[str, AttentionMaps], list[list[str]]]
"""Output of the network, layer -> maps, and what each item's maps are called."""


def inject(
    model: nn.Module,
    output_dir: str | Path | None = None,
    backend: str = "hirescam",
    layer: str | nn.Module | Sequence[str] = "auto",
    label: Label = None,
    *,
    save_maps: bool = False,
    save_npz: bool = False,
    save_pickle: bool = False,
    save_scores: bool = False,
    evaluate: bool = False,
    metric: Metric = "wioa",
    threshold: str | float = "otsu",
    replace: bool = False,
    return_attention: bool = False,
    return_score: bool = False,
    normalise: bool = False,
    enabled: bool = True,
) -> InjectedNetwork:
    """The network, explaining itself at every call: M3d-CAM's one line, in any number of dimensions.

    ``model = organcam.inject(model, output_dir="maps", save_maps=True)``; then use the model as before. The arguments
    are those of Gotkowski et al., "M3d-CAM" (2020), ``medcam.inject``. What differs: maps are raw and signed and lie on
    the input's voxels with its affine; nothing is done to the network, its gradients, modes or hooks; frozen networks,
    ``inference_mode``, batches and slab-wise networks are explained right; a segmentation is explained where it is
    predicted; methods of ``organcam.attention`` are backends.

    Args:
        model: any network whose output is (or a dictionary with "logits" holds, or a tuple starts with) logits
            ``[B]``, ``[B, K]`` or ``[B, K, *voxels]``. One that is injected already is injected anew.
        output_dir: folder for files; made when the first is written.
        backend: attention method by name, also by M3d-CAM's ("gcam", "gcampp", "gbp", "ggcam"). Defaults to HiResCAM.
        layer: name of a layer, or the layer; several names; "auto" for the last layer that gives a map and leads to the
            score (of a segmentation the coarsest one); "full" for all of them, one pass each.
        label: what is explained. An index; several (a map each); "all"; "best" or None for each item's highest output
            (of a segmentation the foreground class that is predicted at most voxels); a tensor ``[B]`` with one index
            for each item; or a function of the output that gives a mask of its shape, whose weighted sum is explained.
        save_maps: write every map on the input's voxels, ``<output_dir>/<layer>/<scan>_<label>.nii.gz`` (PNG over the
            image in two dimensions). The scan is named by its file if the input is MONAI's MetaTensor.
        save_npz: write the maps of each item at the layer's own resolution, ``<output_dir>/<layer>/<scan>.npz``.
        save_pickle: refused: reading a pickle runs whatever code it holds. Use ``save_npz``.
        save_scores: ``dump`` writes the scores of maps against masks.
        evaluate: every call must bring a ``mask``.
        metric: see ``organcam.injection.compute_score``.
        threshold: see there.
        replace: calls return the maps ``[B, M, *voxels]`` instead of the output.
        return_attention: calls return the output and the maps.
        return_score: calls return the scores too, ``{layer: [[score of each map] of each item]}``.
        normalise: positive evidence of each map scaled to [0, 1] instead of raw values.
        enabled: whether calls explain; see ``InjectedNetwork.enable``.

    Raises:
        ConfigError: for an unknown backend, metric or threshold, for files without a folder, and for ``save_pickle``.
        ValueError: for a layer that the network has not.
    """
    if save_pickle:
        msg = "save_pickle: reading a pickle runs whatever code it holds, so none is written; use save_npz=True"
        raise ConfigError(msg)
    network = model.network if isinstance(model, InjectedNetwork) else model
    options = InjectionOptions(
        output_dir=None if output_dir is None else Path(output_dir),
        backend=BACKENDS.get(backend, backend),
        layer=_names_of(network, layer),
        label=label,
        save_maps=save_maps,
        save_npz=save_npz,
        save_scores=save_scores,
        evaluate=evaluate,
        metric=metric,
        threshold=threshold,
        replace=replace,
        return_attention=return_attention,
        return_score=return_score,
        normalise=normalise,
    )
    return InjectedNetwork(network, options, enabled)


def get_layers(model: nn.Module, reverse: bool = False) -> list[str]:
    """Names of all layers, from first to last; ``reverse`` turns them about."""
    network = unwrap(model.network if isinstance(model, InjectedNetwork) else model)
    names = [name for name, _ in network.named_modules() if name]
    return names[::-1] if reverse else names


class InjectedNetwork(nn.Module):
    """What ``inject`` returns: calls go to the network, and its attributes, modes and weights are the network's.

    Attributes:
        network: the network as it was given, untouched.
        options: what is done at each call.
        evaluator: scores so far.
        maps: layer -> maps ``[B, M, *voxels]`` of the last call.
    """

    def __init__(self, network: nn.Module, options: InjectionOptions, enabled: bool = True) -> None:
        super().__init__()
        self.train(network.training)
        self.options = options
        self.enabled = enabled
        self.evaluator = Evaluator(options.metric, options.threshold)
        self.maps: dict[str, Tensor] = {}
        self._calls = 0
        self._lock = RLock()
        self._found: tuple[str, ...] = ()  # the layers that "auto" or "full" mean, once they are found
        self.network = network

    def forward(
        self,
        inputs: Tensor,
        *args: Any,
        label: Label = None,
        mask: Tensor | None = None,
        raw_input: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run the network and explain what it says.

        In evaluation mode and without gradients the very pass whose output is returned is explained. Otherwise the
        network runs again for the maps, in evaluation mode and without a trace.

        Args:
            inputs: batch as the network takes it; the maps have its voxels.
            args: further inputs of the network.
            label: instead of the one given to ``inject``.
            mask: ``[B, *voxels]``, ``[B, 1, *voxels]`` or one for each map, 0 and 1; every map is scored against it.
            raw_input: images ``[B, C, H, W]`` to show a two-dimensional map over, instead of the inputs.
            kwargs: further words of the network.

        Returns:
            The network's output; with ``replace`` the maps; with ``return_attention`` and ``return_score`` a tuple with
            these behind it. Of several layers the maps are a dictionary.

        Raises:
            ValueError: if maps cannot be made, or the mask does not fit; the message says what would.
        """
        if not self.enabled:
            return self.network(inputs, *args, **kwargs)
        options = self.options
        if options.evaluate and mask is None:
            msg = "evaluate: give each call a mask (model(inputs, mask=...)) to score its maps against"
            raise ValueError(msg)
        wanted = options.label if label is None else label
        output, found, labels = self._explained((inputs, *args), kwargs, wanted)
        with torch.autocast(inputs.device.type, enabled=False):
            dense = {name: self._dense(maps, inputs) for name, maps in found.items()}
        with self._lock:
            names = item_names(inputs, self._calls)
            self._calls += 1
            self.maps = dense
            scores = {} if mask is None else self._score(dense, labels, names, mask)
        if options.output_dir is not None:
            for name, maps in found.items():
                if options.save_maps:
                    save_pictures(options.output_dir / name, names, labels, dense[name], inputs, raw_input)
                if options.save_npz:
                    save_npz(options.output_dir / name, names, labels, maps)
        return self._returned(output, dense, scores)

    def enable(self) -> None:
        """Explain from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Be the plain network from now on."""
        self.enabled = False

    def replace_output(self, replace_output: bool) -> None:
        """Whether calls return the maps instead of the output."""
        self.options = replace(self.options, replace=replace_output)

    def get_layers(self, reverse: bool = False) -> list[str]:
        """Names of all layers, any of which may be given as ``layer``."""
        return get_layers(self, reverse)

    def get_attention_map(self) -> Any:
        """Maps of the last call, of several layers as a dictionary.

        Raises:
            ValueError: if there has been none.
        """
        if not self.maps:
            msg = "no attention map yet: call the model first"
            raise ValueError(msg)
        return self._single(self.maps)

    def dump(self) -> list[Path]:
        """Write the scores so far as CSV and xlsx; nothing where there are none.

        Returns:
            The files.

        Raises:
            ConfigError: without ``output_dir``, or if openpyxl is not installed (the CSV files are there then).
        """
        if self.evaluator.scores().empty:
            return []
        if self.options.output_dir is None:
            msg = "dump needs output_dir, the folder to write to"
            raise ConfigError(msg)
        return self.evaluator.dump(self.options.output_dir)

    def _explained(self, given: tuple[Any, ...], words: dict[str, Any], label: Label) -> Explained:
        names = self._layers()
        listen = place_of(METHODS.get(self.options.backend)) == "layer" and names is not None and len(names) == 1
        if names is not None and listen and is_plain_inference(self.network, given[0]):
            return self._of_own_pass(given, words, label, names[0])
        output = self.network(*given, **words)
        wanted = wanted_maps(output, label, len(given[0]))
        inputs = as_inputs(self.network, given, words)
        found = self._of_first_layers(inputs, wanted, output) if names is None else self._maps(inputs, wanted, names)
        return output, found, wanted.names

    def _layers(self) -> tuple[str, ...] | None:
        """The layers to explain, none for methods that look at none; None where they are yet to be found."""
        if place_of(METHODS.get(self.options.backend)) not in OF_LAYERS:
            return ()
        return (self._found or None) if isinstance(self.options.layer, str) else self.options.layer

    def _of_own_pass(self, given: tuple[Any, ...], words: dict[str, Any], label: Label, layer: str) -> Explained:
        items = len(given[0])
        targets = partial(scores_by_label, label=label, items=items)
        listener = AttentionListener(self.network, method=self.options.backend, targets=targets, layer=layer)
        with torch.no_grad():  # what the listener switches on is switched off again
            listener.start()
            try:
                output = self.network(*given, **words)
            finally:
                listener.stop()
        with torch.enable_grad():
            maps = listener.maps(as_inputs(self.network, given, words), output)
        output = tree_map_only(Tensor, Tensor.detach, output)
        return output, {layer: maps}, wanted_maps(output, label, items).names

    def _maps(self, inputs: Any, wanted: Wanted, names: tuple[str, ...]) -> dict[str, AttentionMaps]:
        backend, targets = self.options.backend, wanted.targets
        if names:
            return attention_maps(self.network, inputs, method=backend, targets=targets, layer=list(names))
        maps = attention_maps(self.network, inputs, method=backend, targets=targets)
        return {maps.layer: maps}

    def _of_first_layers(self, inputs: Any, wanted: Wanted, output: Any) -> dict[str, AttentionMaps]:
        """Maps of the first automatic layer that leads to the score, or of all that do."""
        core, everything = unwrap(self.network), self.options.layer == "full"
        given = inputs if isinstance(inputs, (tuple, dict)) else (inputs,)
        run = partial(core, **given) if isinstance(given, dict) else partial(core, *given)
        shape = next(iter(given.values() if isinstance(given, dict) else given)).shape
        own = contract_of(core).attention_layer
        names = [own] if own and not everything else []
        names += automatic_layers(map_layers(core, run, shape), is_segmentation(output))
        found: dict[str, AttentionMaps] = {}
        problems: list[str] = []
        for name in names:
            try:
                found.update(self._maps(inputs, wanted, (name,)))
            except ValueError as error:
                problems.append(str(error))
                continue
            if not everything:
                logger.info("attention of layer %s", name)
                break
        if not found:
            reason = problems[0] if problems else "none of its layers gives a map of more than one cell along each axis"
            msg = f"{type(core).__name__} has no layer to explain: {reason}"
            raise ValueError(msg)
        found = dict(reversed(found.items()))
        self._found = tuple(found)
        return found

    def _dense(self, maps: AttentionMaps, inputs: Tensor) -> Tensor:
        """``[B, M, *voxels]`` of the input."""
        if maps.grid is not None:
            dense = maps.on_image().detach().as_subclass(Tensor)
        else:
            logger.warning("the cells of %s have no regular places: its maps are stretched over the input", maps.layer)
            values = maps.values.detach().float()
            mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[values.ndim - 2]
            dense = nn.functional.interpolate(values, tuple(inputs.shape[2:]), mode=mode)
        return scale_to_one(positive_part(dense)) if self.options.normalise else dense

    def _score(
        self, dense: dict[str, Tensor], labels: list[list[str]], names: list[str], mask: Tensor
    ) -> dict[str, list[list[float]]]:
        given = torch.as_tensor(mask)
        shape = next(iter(dense.values())).shape
        if given.ndim == len(shape) - 1:
            given = given[:, None]
        if (
            given.ndim != len(shape)
            or given.shape[1] not in (1, shape[1])
            or ((given.shape[0], *given.shape[2:]) != (shape[0], *shape[2:]))
        ):
            msg = f"mask {list(mask.shape)} does not fit maps {list(shape)}: give [B, *voxels] or [B, 1 or M, *voxels]"
            raise ValueError(msg)
        inside = given.expand(shape).cpu().numpy()
        return {
            layer: [
                [
                    self.evaluator.add(
                        maps[item, number].cpu().numpy(), inside[item, number], scan=name, layer=layer, label=label
                    )
                    for number, label in enumerate(labels[item])
                ]
                for item, name in enumerate(names)
            ]
            for layer, maps in dense.items()
        }

    def _returned(self, output: Any, dense: dict[str, Tensor], scores: dict[str, list[list[float]]]) -> Any:
        options = self.options
        first = self._single(dense) if options.replace else output
        more = [self._single(dense)] if options.return_attention and not options.replace else []
        more += [scores] if options.return_score else []
        return (first, *more) if more else first

    def _single(self, maps: dict[str, Tensor]) -> Any:
        return next(iter(maps.values())) if len(maps) == 1 else dict(maps)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Weights under the network's own names."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights under the network's own names."""
        return self.network.load_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_lock": RLock()})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "network" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules["network"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        network = self.__dict__.get("_modules", {}).get("network")
        if network is None or name in self.__dict__ or not hasattr(network, name):
            super().__setattr__(name, value)
        else:  # a switch of the network, such as a decoder's deep supervision
            setattr(network, name, value)


def _names_of(network: nn.Module, layer: str | nn.Module | Iterable[str]) -> str | tuple[str, ...]:
    core = unwrap(network)
    if isinstance(layer, (str, nn.Module)):
        return layer if layer in ("auto", "full") else (find_module(core, layer)[0],)
    return tuple(find_module(core, one)[0] for one in layer)
