"""The first page, and what it is made of."""
