"""Statements on webhooks and their deliveries."""
