"""Webhooks: deliveries with replay."""
