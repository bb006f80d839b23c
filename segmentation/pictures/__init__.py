"""Pictures of organs and of the cells of a feature grid over the CT."""
