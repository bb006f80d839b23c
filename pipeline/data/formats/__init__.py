"""One module a file format: what its header declares is checked against what its bytes hold, checksums included."""
