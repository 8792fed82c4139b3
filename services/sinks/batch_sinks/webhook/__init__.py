"""Webhooks: one signed POST for each batch that ends, as OpenAI sends them."""

from batch_sinks.webhook.batch_url import BatchUrlSink
from batch_sinks.webhook.endpoints import Endpoints, EndpointSink
from batch_sinks.webhook.sink import WebhookSink, make_webhook
from batch_sinks.webhook.tester import Tester

__all__ = ["BatchUrlSink", "EndpointSink", "Endpoints", "Tester", "WebhookSink", "make_webhook"]
