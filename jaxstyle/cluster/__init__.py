"""A batch on the machines of a Ray cluster. Paths travel, and no images: all machines see them."""
