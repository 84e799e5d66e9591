"""Contents: search, revisions with their differences, who decided, where it was published, reopen."""
