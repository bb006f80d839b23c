"""Whole reports and tables of them: sections, findings, labels, files, pages."""
