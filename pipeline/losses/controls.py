"""Wrong masks for a loss on attention, to tell what a gain comes from.

A mask loss that helps may do so because the masks are the patient's own, because they show where organs usually lie, or
because any restraint on attention helps. The same training with one of these in place of the own masks tells which:
another patient's (`other_patients`), the mean of the training scans (`atlas_regions`), the same cells at random places
(`shuffled_regions`), another organ's (`swapped_places`). Such comparisons are the sanity checks of explanation-guided
training; the forms are our own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

__all__ = ["CONTROLS", "atlas_regions", "other_patients", "shuffled_regions", "swapped_places"]

CONTROLS = ("own", "permuted", "atlas", "shuffled", "swapped")
"""From the patient's own masks down."""

ORGANS = 3
"""The first bits of a label's places: right lung, left lung, heart and mediastinum."""


def other_patients(patients: Mapping[str, str], seed: int) -> dict[str, str]:
    """For every scan a scan of another patient, each lent once: a fixed permutation, whatever the order of the scans.

    Patients are put in a random order, the scans of one side by side, and everything is moved on by as many places as
    the patient with the most scans has.

    Args:
        patients: scan -> its patient.
        seed: of the order.

    Raises:
        ValueError: if one patient has more than half of the scans, so that there is no such permutation.

    Example:
        >>> other_patients({"a1": "a", "a2": "a", "b": "b", "c": "c"}, seed=0) in (
        ...     {"a1": "b", "a2": "c", "b": "a1", "c": "a2"}, {"a1": "c", "a2": "b", "b": "a1", "c": "a2"},
        ...     {"a1": "b", "a2": "c", "b": "a2", "c": "a1"}, {"a1": "c", "a2": "b", "b": "a2", "c": "a1"})
        True
    """
    scans_of: dict[str, list[str]] = {}
    for scan in sorted(patients):
        scans_of.setdefault(patients[scan], []).append(scan)
    most = max((len(scans) for scans in scans_of.values()), default=0)
    if 2 * most > len(patients):
        msg = (
            f"another patient's masks are to be had for every scan only where no patient has more than half of them, "
            f"here one has {most} of {len(patients)}"
        )
        raise ValueError(msg)
    draw = np.random.default_rng(seed)
    names = sorted(scans_of)
    order = [scan for place in draw.permutation(len(names)) for scan in draw.permutation(scans_of[names[place]])]
    return {str(scan): str(order[(place + most) % len(order)]) for place, scan in enumerate(order)}


def atlas_regions(scans: Iterable[Tensor]) -> Tensor:
    """The mean mask of many scans, as cells: of each region those that most scans have, as many as a scan has.

    The mean is cut where the number of cells comes nearest to the mean number of the scans, so that the atlas differs
    from own masks by the place of its cells and not by how many it allows; cut at a half it would shrink the more,
    the more the scans differ. A loss on attention knows allowed and forbidden cells only, and no shares.

    Args:
        scans: region bitmaps, bool ``[R, *grid]``, of one scan after another.

    Returns:
        Bool ``[R, *grid]``.

    Raises:
        ValueError: if there is no scan, or their shapes differ.

    Example:
        >>> scans = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 1, 1, 0]]]).bool()  # three scans, one region
        >>> atlas_regions(scans).int().tolist()  # shares 1/3, 1, 2/3, 0 and two cells a scan
        [[0, 1, 1, 0]]
    """
    counts, number = None, 0
    for bitmaps in scans:
        if counts is not None and counts.shape != bitmaps.shape:
            msg = f"an atlas needs bitmaps of one shape, got {tuple(counts.shape)} and {tuple(bitmaps.shape)}"
            raise ValueError(msg)
        counts = bitmaps.to(torch.int64) if counts is None else counts + bitmaps
        number += 1
    if counts is None:
        msg = "an atlas needs the bitmaps of at least one scan"
        raise ValueError(msg)
    return torch.stack([_most_common(region, number) for region in counts])


def _most_common(counts: Tensor, scans: int) -> Tensor:
    """Cells with at least so many scans that their number is nearest to the mean; of equals the fewer."""
    wanted = counts.sum().item() / scans
    levels = [level for level in counts.unique(sorted=True).flip(0).tolist() if level]
    cut = min(levels, key=lambda level: abs((counts >= level).sum().item() - wanted), default=1)
    return counts >= cut


def shuffled_regions(bitmaps: Tensor, scan_id: str, seed: int) -> Tensor:
    """The cells of a scan at other places: one permutation for all its regions, so that all counts and overlaps stay.

    Args:
        bitmaps: bool ``[R, *grid]``.
        scan_id: another scan is shuffled in another way.
        seed: another seed too.

    Example:
        >>> before = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]]]).bool()
        >>> after = shuffled_regions(before, "a", seed=0)
        >>> after.sum((1, 2)).tolist(), (after[1] & ~after[0]).any().item()
        ([2, 1], False)
    """
    flat = bitmaps.flatten(1)
    draw = np.random.default_rng([seed, zlib.crc32(scan_id.encode())])
    return flat[:, torch.from_numpy(draw.permutation(flat.shape[1]))].reshape(bitmaps.shape)


def swapped_places(places: Tensor) -> Tensor:
    """Place bits of the organs that a label may not lie in: the heart for the lungs, the left lung and the heart for
    the right one. A label that may lie in all of them keeps them, one that is allowed nowhere stays so.

    Args:
        places: 0/1 ``[..., 3]``, ``[..., 9]`` or ``[..., 10]`` (`organcam.transforms.expand_regions`).

    Returns:
        The same shape and type; stated thirds and bases are left out.

    Example:
        >>> swapped_places(torch.tensor([[1, 1, 0], [0, 0, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]])).tolist()
        [[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]]
    """
    organs = places[..., :ORGANS].bool()
    some = organs.any(-1, keepdim=True) & ~organs.all(-1, keepdim=True)
    swapped = torch.zeros_like(places)
    swapped[..., :ORGANS] = (~organs & some).to(places.dtype)
    return torch.where(some, swapped, places)
