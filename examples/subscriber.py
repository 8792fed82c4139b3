"""Reacts to batches as they complete: one durable consumer on the event stream, results over HTTP.

    NATS_URL=$(cat ~/.local/share/vllm-batch-server/run/nats.url) python examples/subscriber.py

OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client.
"""

import asyncio
import json
import os
import urllib.request

import nats

URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
HEADERS = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}


def fetch(path: str) -> bytes:
    request = urllib.request.Request(URL + path, headers=HEADERS)  # noqa: S310 - your own server
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.read()


async def main() -> None:
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    events = await client.jetstream().subscribe("batch.completed", durable="my-subscriber")
    async for message in events.messages:
        batch = json.loads(message.data)["batch_id"]
        lines = await asyncio.to_thread(fetch, f"/batches/{batch}/results")
        print(f"{batch}: {len(lines.splitlines())} results", flush=True)
        await message.ack()  # only now: a crash before it brings the event again


asyncio.run(main())
