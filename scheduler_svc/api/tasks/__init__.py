"""TaskService, and the conversion of its requests."""
