"""The scheduler: takes tasks over gRPC, keeps them in PostgreSQL and leases them to workers."""
