"""Sends the deliveries of webhooks by HTTP, to addresses that are allowed. Beside `store`, below `replica`."""

from scheduler_svc.webhooks.addresses import WebhookAddresses
from scheduler_svc.webhooks.names import Names
from scheduler_svc.webhooks.sender import WebhookSender

__all__ = ["Names", "WebhookAddresses", "WebhookSender"]
