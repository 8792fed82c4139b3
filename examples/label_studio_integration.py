"""A model's answers for people to check in Label Studio: classifies reviews, says where they are.

    result_handlers:
      enabled: [label_studio]

Start the server with these settings, and with where your Label Studio is:

    LABEL_STUDIO_URL=http://127.0.0.1:8080 LABEL_STUDIO_API_KEY=… vllm-batch up --config config.yml

then `python examples/label_studio_integration.py`. Each review becomes a task whose label the model
has predicted; a reviewer confirms it, or corrects it. The questions are those of the task schema
`classification` (docs/SCHEMAS.md). OPENAI_BASE_URL and OPENAI_API_KEY name the server.
"""

import json
import os
import time
from typing import Any

from openai import OpenAI

REVIEWS = [
    "The kettle boils in a minute and looks lovely.",
    "Broke after two days, and nobody answers my mails.",
    "It is a kettle.",
    "Great colour, but it leaks.",
    "My third one, and still the best I know.",
]
TASK = "Which sentiment does the review have? Answer in JSON with label and confidence."


def hand_in(client: OpenAI, model: str) -> str:
    """The new batch's id. Its schema keeps the model to the labels that reviewers can choose."""
    lines = [
        {
            "custom_id": f"review-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": model,
                "max_tokens": 60,
                "messages": [
                    {"role": "system", "content": TASK},
                    {"role": "user", "content": review},
                ],
            },
        }
        for number, review in enumerate(REVIEWS)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("reviews.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"schema": "classification"},
    )
    return batch.id


def delivered(client: OpenAI, batch_id: str) -> dict[str, Any]:
    """The delivery to Label Studio, once all of it is there."""
    told = None
    while True:
        answer: Any = client.get(f"/batches/{batch_id}/deliveries", cast_to=object)
        for delivery in answer["data"]:
            if delivery["sink"] != "label_studio":
                continue
            if delivery["status"] == "delivered":
                return delivery
            if delivery["last_error"] != told:
                told = delivery["last_error"]
                print(f"not yet: {told}")  # it is tried again, for 72 hours
        time.sleep(1)


def main() -> None:
    base_url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    batch_id = hand_in(client, next(iter(client.models.list())).id)
    print(f"{len(REVIEWS)} reviews to check at {delivered(client, batch_id)['link']}")


if __name__ == "__main__":
    main()
