"""Webhooks: who wants which events, the events of a transaction, and their deliveries."""
