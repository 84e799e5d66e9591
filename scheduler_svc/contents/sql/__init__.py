"""Statements on contents."""
