"""Files: images, weights, inputs, checkpoints and provenance."""
