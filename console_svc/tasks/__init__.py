"""What the pages of tasks are made of."""
