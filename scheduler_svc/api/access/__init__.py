"""Who calls: tokens, callers, and streams that end when their token is taken away."""
