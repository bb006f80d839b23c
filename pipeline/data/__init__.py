"""Scans, reports and manifests: finding, reading, storing, and the phantom that stands in for a hospital."""
