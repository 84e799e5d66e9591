"""PostgreSQL as the scheduler uses it: connections, statements, notifications, and which database it is."""
