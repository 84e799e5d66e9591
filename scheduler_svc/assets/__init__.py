"""Assets: the files that contents name, in a folder or a bucket."""
