"""The optimization loop: levels, compiled programs, style statistics, where to start."""
