"""Tasks, from submit to cleanup."""
