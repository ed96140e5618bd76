"""Batches: `jobs` lists them, `plan` groups them, `run` computes them, `report` shows them."""
