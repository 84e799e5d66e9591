"""Dispatch: which waiting tasks may run now, the claim that makes leases of them, and the workers' streams."""
