"""The old application's database: its tables, and how they are read."""
