"""What the pages of webhooks are made of."""
