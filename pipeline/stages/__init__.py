"""The stages of a workflow, one file each; every one is a function of a `Run`."""
