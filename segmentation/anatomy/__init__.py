"""The steps from a volume to its organs, one a module; ``organcam.segmentation.segment`` has their order."""
