"""Contents: the list, each one with its article, its texts to be edited, its files."""
