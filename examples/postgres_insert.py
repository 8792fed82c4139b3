"""Results as rows of your own Postgres table: hands in a batch and reads its rows with SQL.

    result_handlers:
      enabled: [postgres]
      postgres: {url: "${RESULTS_URL}"}      # postgresql://user:password@host/name

Start the server with these settings (vllm-batch up --config config.yml), then

    RESULTS_URL=postgresql://… python examples/postgres_insert.py

OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client.
"""

import asyncio
import json
import os

import asyncpg
from openai import OpenAI

QUESTIONS = ["What is a batch?", "What is a queue?", "What is a row?"]
ROWS = """
    SELECT custom_id, response->'choices'->0->'message'->>'content' AS answer
    FROM batch_results WHERE batch_id = $1 ORDER BY custom_id
"""


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


async def rows_of(batch_id: str) -> list[asyncpg.Record]:
    """They come in transactions of up to 5,000; here all at once, soon after the batch's end."""
    connection = await asyncpg.connect(os.environ["RESULTS_URL"])
    try:
        while True:
            exists = await connection.fetchval("SELECT to_regclass('batch_results')")
            rows = await connection.fetch(ROWS, batch_id) if exists else []
            if len(rows) == len(QUESTIONS):
                return rows
            await asyncio.sleep(1)
    finally:
        await connection.close()


def main() -> None:
    base_url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    batch_id = hand_in(client, next(iter(client.models.list())).id)
    for row in asyncio.run(rows_of(batch_id)):
        print(f"{row['custom_id']}: {row['answer']}")


if __name__ == "__main__":
    main()
