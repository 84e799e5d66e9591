"""Channels: what happens is gathered into messages to people, which go out as the deliveries of webhooks do."""
