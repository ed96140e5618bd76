"""Layer studies, captioned image grids, and estimates of memory and time."""
