"""Judging models: figures of scans and labels in, tables out. No files, no run directory."""

from .gains import AurocDifference, auroc_difference, gains_table
from .scores import ModelScores, ScanFigures, SplitScores, ThresholdSearch
from .tables import Evaluation, evaluate_models, pairs_table, scores_table

__all__ = [
    "AurocDifference",
    "Evaluation",
    "ModelScores",
    "ScanFigures",
    "SplitScores",
    "ThresholdSearch",
    "auroc_difference",
    "evaluate_models",
    "gains_table",
    "pairs_table",
    "scores_table",
]
