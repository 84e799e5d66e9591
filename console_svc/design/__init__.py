"""Design: what pages are made of, for those who change them."""
