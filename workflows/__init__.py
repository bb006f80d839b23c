"""Workflow files shipped with the package; ``organcam run NAME`` finds them here."""
