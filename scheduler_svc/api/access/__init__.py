"""Tokens and roles, the calls of each caller, and streams that end when their token is revoked."""
