"""The report: one self-contained HTML page of a run, and one of each chosen scan.

Pure functions: tables and arrays in, text and pictures out. Reading a run directory's arrays is the stage's part.
"""

from .context import index_context
from .pages import SCAN_PAGE_MARK, index_page, scan_page
from .quotes import quoted_findings
from .results import Results, read_results
from .scan_view import ModelMaps, ScanView, scan_context, shown_labels

__all__ = [
    "SCAN_PAGE_MARK",
    "ModelMaps",
    "Results",
    "ScanView",
    "index_context",
    "index_page",
    "quoted_findings",
    "read_results",
    "scan_context",
    "scan_page",
    "shown_labels",
]
