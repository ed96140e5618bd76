"""A batch on the machines of a Ray cluster. Only paths are sent; all machines see the files."""
