"""Accounts: their limits and quotas."""
