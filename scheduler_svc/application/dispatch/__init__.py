"""Dispatch: which waiting tasks of an account may run now, and the claim that makes leases of them."""
