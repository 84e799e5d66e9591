"""Statements on tasks: rows, payloads, history, lists and polls."""
