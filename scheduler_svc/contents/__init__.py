"""Contents: what tasks have written, its edits, reviews and search."""
