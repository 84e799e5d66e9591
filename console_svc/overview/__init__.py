"""Overview: whether all is well, or what is wrong and what mends it; depth, success today; plots; live moves."""
