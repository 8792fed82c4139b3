"""Webhooks as OpenAI sends them: makes an endpoint, hands in a batch, and waits to be told.

    result_handlers:
      webhook:
        allow_http: true                     # the receiver below has no certificate
        allow_private: true                  # and is on this machine

Start the server with these settings (vllm-batch up --config config.yml), then

    python examples/with_webhooks.py

OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client, which has to be of
version 3.54 or later to make endpoints. With a receiver on the internet, behind https, the server
needs no settings at all.
"""

import json
import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import UnwrapWebhookEvent

QUESTIONS = ["What is a webhook?", "What is a signature?", "What is a batch?"]
EVENTS = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]


class Receiver(ThreadingHTTPServer):
    """Puts what the server really sent into `events`, each event once."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.client = client
        self.secret = ""
        self.events: queue.Queue[UnwrapWebhookEvent] = queue.Queue()
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """The status to answer. Anything but 2xx, and the server tries again later."""
        try:
            event = self.client.webhooks.unwrap(body, headers, secret=self.secret)
        except (InvalidWebhookSignatureError, ValueError):
            return 400  # somebody else's, or too old
        if headers["webhook-id"] not in self.seen:  # else: a repeat of what we have
            self.seen.add(headers["webhook-id"])
            self.events.put(event)
        return 204


class Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(self.server.take(body, headers))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def hand_in(client: OpenAI, model: str) -> str:
    """The new batch's id."""
    lines = [
        {
            "custom_id": f"question-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": question}]},
        }
        for number, question in enumerate(QUESTIONS)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("questions.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    return batch.id


def show(client: OpenAI, event: UnwrapWebhookEvent) -> None:
    """The event has the batch's id only; everything else is for the API to tell."""
    print(f"{event.type}: {event.data.id}")
    batch = client.batches.retrieve(event.data.id)
    if batch.output_file_id is None:
        return
    for line in client.files.content(batch.output_file_id).text.splitlines():
        result = json.loads(line)
        choice = result["response"]["body"]["choices"][0]
        print(f"{result['custom_id']}: {choice['message']['content']}")


def main() -> None:
    base_url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    # Tries again while the server's services are still starting.
    api_key = os.environ.get("OPENAI_API_KEY", "none")
    client = OpenAI(base_url=base_url, api_key=api_key, max_retries=10)
    receiver = Receiver(client)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    endpoint = client.webhooks.create(name="example", url=receiver.url, event_types=EVENTS)
    receiver.secret = endpoint.signing_secret  # shown this once: a real receiver keeps it
    try:
        client.webhooks.test(endpoint.id, event_type="batch.completed")
        print(f"a sample: {receiver.events.get(timeout=30).type}")
        batch_id = hand_in(client, next(iter(client.models.list())).id)
        while (event := receiver.events.get(timeout=600)).data.id != batch_id:
            pass  # of another batch
        show(client, event)
    finally:
        client.webhooks.delete(endpoint.id)
        receiver.shutdown()


if __name__ == "__main__":
    main()
