"""Statements on what waits, and the claim."""
