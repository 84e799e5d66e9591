"""TaskService, and what its requests become."""
