"""Result files in your own bucket: hands in a batch, and checks what lies there against the API.

    result_handlers:
      enabled: [s3]
      s3: {bucket: results, endpoint_url: "${S3_URL:-}"}     # no endpoint: Amazon's

Start the server with these settings (vllm-batch up --config config.yml), with credentials where
boto looks for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role.

    S3_BUCKET=results python examples/s3_upload.py

OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client.
"""

import hashlib
import json
import os
import time
from typing import Any

import boto3
from botocore.exceptions import ClientError
from openai import OpenAI

QUESTIONS = ["What is a bucket?", "What is a part?", "What is a checksum?"]


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


def manifest_of(bucket: Any, batch_id: str) -> dict[str, Any]:
    """It is written last: where it is, everything is."""
    while True:
        try:
            answer = bucket.Object(f"batches/{batch_id}/manifest.json").get()
            return json.load(answer["Body"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            time.sleep(1)


def main() -> None:
    base_url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    s3 = boto3.resource("s3", endpoint_url=os.environ.get("S3_URL"))
    bucket = s3.Bucket(os.environ["S3_BUCKET"])
    batch_id = hand_in(client, next(iter(client.models.list())).id)
    manifest = manifest_of(bucket, batch_id)
    stored = bucket.Object(manifest["output"]["key"]).get()["Body"].read()
    output_file_id = client.batches.retrieve(batch_id).output_file_id
    downloaded = client.files.content(output_file_id or "").content
    same = hashlib.sha256(stored).hexdigest() == hashlib.sha256(downloaded).hexdigest()
    print(f"{manifest['output']['key']}: {len(stored)} bytes, as the API has them: {same}")


if __name__ == "__main__":
    main()
