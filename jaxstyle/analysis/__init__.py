"""What layers hold, and what a run costs."""
