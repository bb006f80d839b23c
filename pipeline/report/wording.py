"""The sentences of the page that depend on figures: a mask loss reduces the use of a confounder, no more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

__all__ = [
    "confounder_sentences",
    "describe_mask_loss",
    "inside_sentence",
    "shift_sentences",
    "training_caution",
]

FEW_SCANS = 50
FEW_EPOCHS = 3

LESS = 0.9
"""A change below this share of the first model's counts as reduced; with some 20 pairs, less is noise."""


def confounder_sentences(interventions: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """What putting in a confounder does to each model's logits, beside the first model's.

    Args:
        interventions: columns ``model, label, inserted, mean_absolute_change``.
        models: in the order of the workflow; the first one is what the others are compared with.
    """
    changes = interventions.set_index(["inserted", "model", "label"])["mean_absolute_change"].to_dict()
    sentences = []
    for model in models[1:]:
        ratios = _ratios(changes, "confounder", model, models[0])
        if ratios:
            largest = max(changes["confounder", model, label] for label in ratios)
            text = _compared(model, models[0], list(ratios.values()), largest)
            lesion = _ratios(changes, "lesion", model, models[0])
            if lesion:
                text += f" The lesion itself moves it {_span(list(lesion.values()))} times as much."
            sentences.append(text)
    return sentences


def _ratios(changes: Mapping[tuple[str, str, str], float], thing: str, model: str, first: str) -> dict[str, float]:
    """Label -> a model's change over the first model's, where the first one has any."""
    there = {label: change for (inserted, name, label), change in changes.items() if (inserted, name) == (thing, first)}
    return {
        label: changes[thing, model, label] / change
        for label, change in sorted(there.items())
        if change > 0 and (thing, model, label) in changes
    }


def _compared(model: str, first: str, ratios: Sequence[float], largest: float) -> str:
    less = [ratio for ratio in ratios if ratio < LESS]
    if len(less) == len(ratios):
        return (
            f"{model} reduces the use of the confounder: put into a scan, it moves the logit {_span(less)} times as "
            f"much as in {first} ({_of(len(less), len(ratios))}). Reduced is not gone: it still moves a logit by "
            f"{largest:.2g} on average."
        )
    if less:
        return (
            f"{model} reduces the use of the confounder for {_of(len(less), len(ratios))} ({_span(less)} times the "
            f"change in {first}) and not for the others, where it moves the logit "
            f"{_span([ratio for ratio in ratios if ratio >= LESS])} times as much."
        )
    return (
        f"{model} does not reduce the use of the confounder: put into a scan, it moves the logit {_span(ratios)} times "
        f"as much as in {first}."
    )


def shift_sentences(models: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """How the median AUROC goes from the test split to the shifted one.

    Args:
        models: model -> ``{"test": x, "shifted": y}``.
    """
    parts = [
        f"{model} {both['test']:.3f} to {both['shifted']:.3f}"
        for model, both in models.items()
        if both.get("test") is not None and both.get("shifted") is not None
    ]
    if not parts:
        return []
    return [f"Median AUROC from the test split to the shifted split: {'; '.join(parts)}."]


def describe_mask_loss(settings: Mapping[str, object] | None, chosen: float | None) -> str:
    """A model's mask loss in a few words.

    Args:
        settings: of the workflow; None for the class loss alone.
        chosen: weight that the selection took, if there was one.
    """
    if settings is None:
        return "class loss only"
    weight = settings["weight"]
    several = isinstance(weight, Sequence) and len(weight) > 1
    shown = chosen if chosen is not None else weight
    control = settings.get("control", "own")
    masks = "" if control == "own" else f", {control} masks"
    text = f"{shown:.3g}" if isinstance(shown, (int, float)) else str(shown)
    return f"mask loss: {settings['form']}, {settings['reduction']}{masks}, weight {text}" + (
        " (chosen on validation)" if several and chosen is not None else ""
    )


def inside_sentence(share: float | None) -> str:
    """How much of a map's positive evidence lies in allowed cells."""
    if share is None:
        return "no allowed cell"
    return f"{share:.0%} of positive evidence in allowed cells"


def training_caution(scans: int, epochs: Mapping[str, int]) -> str:
    """A warning where training was too small to mean anything; empty otherwise.

    Args:
        scans: in the training split.
        epochs: model -> epochs trained.
    """
    short = [model for model, count in epochs.items() if count < FEW_EPOCHS]
    if scans >= FEW_SCANS and not short:
        return ""
    reasons = []
    if scans < FEW_SCANS:
        reasons.append(f"trained on {scans} scan{'' if scans == 1 else 's'}")
    if short:
        reasons.append(f"fewer than {FEW_EPOCHS} epochs ({', '.join(short)})")
    return (
        f"This is a smoke test ({'; '.join(reasons)}): networks with random or hardly trained weights give scores and "
        "maps that mean nothing. It shows that every stage works, not that the networks do."
    )


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total} label{'' if total == 1 else 's'}"
