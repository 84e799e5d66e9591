"""Statements on leases, and on the workers that hold them."""
