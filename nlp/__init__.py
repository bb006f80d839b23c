"""Radiology reports to findings: what, where, present or not, and the words that say so. No torch."""

from .findings import FINDING_COLUMNS, Conflict, Finding, ParsedReport
from .html import render_html
from .outputs import check_labels, write_outputs
from .parser import ReportParser
from .policy import cells
from .profiles import Profile, builtin_profiles, load_profile
from .spreading import Spread
from .tables import findings_table, labels_by_location_table, labels_table
from .tabular import find_columns, parse_table, read_label_table, read_rows
from .vocabulary import Vocabulary, builtin_vocabularies, load_vocabulary, vocabulary_files

__all__ = [
    "FINDING_COLUMNS",
    "Conflict",
    "Finding",
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
    "labels_by_location_table",
    "labels_table",
    "load_profile",
    "load_vocabulary",
    "parse_table",
    "read_label_table",
    "read_rows",
    "render_html",
    "vocabulary_files",
    "write_outputs",
]
