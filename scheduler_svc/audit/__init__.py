"""The audit: who made which call."""
