"""What runs with the peers' Python, and so imports nothing of contentgen: loaders and workers, a module a peer."""
