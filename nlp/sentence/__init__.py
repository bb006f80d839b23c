"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""
