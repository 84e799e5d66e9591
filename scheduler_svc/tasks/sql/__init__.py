"""Statements on tasks."""
