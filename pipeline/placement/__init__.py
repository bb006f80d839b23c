"""Maps back in the patient: on the voxels of the source scan, and as DICOM objects that refer to its series."""

from ..attention.on_source import SourceGrid, map_on_source, source_grid_of

__all__ = ["SourceGrid", "map_on_source", "source_grid_of"]
