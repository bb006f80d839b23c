"""MONAI bundles: lines that add attention to somebody's own, and a trained model of a run as one."""
