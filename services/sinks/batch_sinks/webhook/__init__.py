"""The webhook sink: one signed POST for each batch that ends, as OpenAI sends them."""

from batch_sinks.webhook.sink import WebhookSink, make_webhook

__all__ = ["WebhookSink", "make_webhook"]
