"""Assets: their upload, what contents name, what readers get, and the deletion of what nothing names."""
