"""A whole batch with the OpenAI client: hand in a file, wait, read answers and errors.

    python examples/basic_batch.py

OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client.
"""

import json
import os
import time

from openai import OpenAI

URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
client = OpenAI(base_url=URL, api_key=os.environ.get("OPENAI_API_KEY", "none"))
model = next(iter(client.models.list())).id


def request(custom_id: str, question: str, **options: float) -> dict[str, object]:
    """One line of the input file; `custom_id` leads from the answer back to it."""
    messages = [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, **options}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


requests = [
    request("week", "How many days are in a week?"),
    request("colours", "Name three colours.", max_tokens=20),
    request("too-hot", "This one fails.", temperature=99),
]
data = "".join(json.dumps(line) + "\n" for line in requests).encode()
file = client.files.create(file=("requests.jsonl", data), purpose="batch")
batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
)

while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
print(f"{batch.id} {batch.status}")

for problem in (batch.errors and batch.errors.data) or []:  # the file itself was refused
    print(f"line {problem.line}: {problem.message}")
if batch.output_file_id:
    for line in client.files.content(batch.output_file_id).iter_lines():
        result = json.loads(line)
        answer = result["response"]["body"]["choices"][0]["message"]["content"]
        print(f"{result['custom_id']}: {answer}")
if batch.error_file_id:
    for line in client.files.content(batch.error_file_id).iter_lines():
        result = json.loads(line)
        if result["error"]:  # it never got an answer
            print(f"{result['custom_id']} failed: {result['error']['message']}")
        else:
            response = result["response"]
            print(f"{result['custom_id']} failed: HTTP {response['status_code']}")
