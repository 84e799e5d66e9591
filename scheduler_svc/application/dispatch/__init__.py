"""Dispatch: which waiting tasks an account may run now, and the claim that makes leases of them."""
