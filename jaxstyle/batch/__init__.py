"""Batches: what to do (`jobs`), how to group it (`plan`), doing it (`run`), telling (`report`)."""
