"""The schema: its tables, the migrations that make it, and what a role must be allowed to do with it."""
