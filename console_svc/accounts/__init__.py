"""Accounts: limits, weight, backlog, what they cost."""
