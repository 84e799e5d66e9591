"""Tokens: whose they are, with role and accounts; revoke."""
