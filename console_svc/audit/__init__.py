"""Audit: who did what."""
