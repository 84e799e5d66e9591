"""Webhooks: which events they want, and the deliveries of these."""
