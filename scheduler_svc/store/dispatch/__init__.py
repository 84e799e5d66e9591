"""Statements on what waits: the order of dispatch, windows, floors, quotas and pauses."""
