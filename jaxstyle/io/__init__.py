"""File input and output: images, weights, checkpoints and provenance."""
