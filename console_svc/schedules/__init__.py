"""What the pages of schedules are made of."""
