"""The publish pool."""
