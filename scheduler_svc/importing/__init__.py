"""The import of the old application's data."""
