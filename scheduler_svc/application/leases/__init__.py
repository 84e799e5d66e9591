"""Leases and the workers that hold them: sessions, streams, heartbeats, reports, and how a lease ends."""
