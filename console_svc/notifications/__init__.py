"""Notifications: messages in chats and by mail."""
