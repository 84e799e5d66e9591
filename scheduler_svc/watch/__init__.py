"""Watching tasks: the feed of changes, and its watchers."""
