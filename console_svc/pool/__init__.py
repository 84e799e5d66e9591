"""What the pages of the publish pool are made of."""
