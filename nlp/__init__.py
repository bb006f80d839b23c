"""Radiology reports to findings: what, where, present or not, and the words that say so. No torch."""

from .language.vocabulary import Vocabulary, load_vocabulary
from .language.vocabulary_file import builtin_vocabularies, vocabulary_files
from .reports.findings import FINDING_COLUMNS, Conflict, Finding, ParsedReport
from .reports.html import render_html
from .reports.outputs import check_labels, write_outputs
from .reports.parser import ReportParser
from .reports.policy import cells
from .reports.profiles import Profile, builtin_profiles, load_profile
from .reports.review import LabelScore, render_review, sample_rows, score_review
from .reports.spreading import Spread
from .reports.tables import findings_table, labels_by_location_table, labels_table
from .reports.tabular import find_columns, known_layout, parse_table, read_label_table, read_rows

__all__ = [
    "FINDING_COLUMNS",
    "Conflict",
    "Finding",
    "LabelScore",
    "ParsedReport",
    "Profile",
    "ReportParser",
    "Spread",
    "Vocabulary",
    "builtin_profiles",
    "builtin_vocabularies",
    "cells",
    "check_labels",
    "find_columns",
    "findings_table",
    "known_layout",
    "labels_by_location_table",
    "labels_table",
    "load_profile",
    "load_vocabulary",
    "parse_table",
    "read_label_table",
    "read_rows",
    "render_html",
    "render_review",
    "sample_rows",
    "score_review",
    "vocabulary_files",
    "write_outputs",
]
