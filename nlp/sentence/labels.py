"""The labels that a concept stands for beside its places and at its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..language.vocabulary import Concept, Place
from .measurements import Size
from .phrases import Member

__all__ = ["labels_of"]


def labels_of(
    concept: Concept,
    own: Sequence[Member],
    inside: Sequence[Member],
    places: Mapping[str, Place],
    size_mm: float | None,
    size: Size | None,
) -> tuple[str, ...]:
    """Labels of a concept.

    Args:
        concept: the concept.
        own: places attached to it.
        inside: other places of its clause, which count where its own give no label.
        places: places of the vocabulary.
        size_mm: its size, or None.
        size: the measurement that the size is from, or None.
    """
    labels = list(concept.labels)
    if concept.when:
        given = _when(concept, own, places)
        given = given if given or labels else _when(concept, inside, places)
        labels += given or concept.otherwise
    for limit, extra in concept.size_over_mm:
        if size_mm is not None and size_mm > limit and not (size is not None and size.below):
            labels += extra
    return tuple(dict.fromkeys(labels))


def _when(concept: Concept, members: Sequence[Member], places: Mapping[str, Place]) -> list[str]:
    return [
        label
        for member in members
        if member.place
        for key, extra in concept.when.items()
        if key in (member.place, places[member.place].group)
        for label in extra
    ]
