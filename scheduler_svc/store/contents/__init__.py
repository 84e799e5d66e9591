"""Statements on contents and the publish pool."""
