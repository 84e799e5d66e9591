"""Leases and the workers that hold them: streams, sessions, heartbeats, reports, and how a lease ends."""
