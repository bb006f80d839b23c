"""Judging models: figures of scans and labels in, tables out; of a run, or of files that another program wrote."""

from .gains import AurocDifference, auroc_difference, gains_table
from .ladder import Ladder, find_ladders, ladder_sentence, ladder_table
from .learned import LEARNED_AUROC, learned_labels
from .scores import ModelScores, ScanFigures, SplitScores, ThresholdSearch
from .tables import Evaluation, evaluate_models, pairs_table, scores_table

__all__ = [
    "LEARNED_AUROC",
    "AurocDifference",
    "Evaluation",
    "Ladder",
    "ModelScores",
    "ScanFigures",
    "SplitScores",
    "ThresholdSearch",
    "auroc_difference",
    "evaluate_models",
    "find_ladders",
    "gains_table",
    "ladder_sentence",
    "ladder_table",
    "learned_labels",
    "pairs_table",
    "scores_table",
]
