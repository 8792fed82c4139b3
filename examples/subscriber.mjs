// Reacts to batches as they complete, in Node: what subscriber.py does in Python.
//
//   npm install @nats-io/transport-node @nats-io/jetstream
//   NATS_URL=$(cat ~/.local/share/vllm-batch-server/run/nats.url) node examples/subscriber.mjs
//
// OPENAI_BASE_URL and OPENAI_API_KEY name the server, as for the OpenAI client.

import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const api = process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8000/v1";
const headers = { Authorization: `Bearer ${process.env.OPENAI_API_KEY ?? "none"}` };
const nats = new URL(process.env.NATS_URL ?? "nats://127.0.0.1:4222");
const name = "my-node-subscriber";

const connection = await connect({
  servers: nats.host,
  user: decodeURIComponent(nats.username) || undefined,
  pass: decodeURIComponent(nats.password) || undefined,
});
const manager = await jetstreamManager(connection);
await manager.consumers.add("BATCHES", {
  durable_name: name,
  filter_subject: "batch.completed",
  ack_policy: AckPolicy.Explicit,
});
const consumer = await jetstream(connection).consumers.get("BATCHES", name);
for await (const message of await consumer.consume()) {
  const { batch_id } = message.json();
  const answer = await fetch(`${api}/batches/${batch_id}/results`, { headers });
  if (!answer.ok) {
    message.nak(5000); // in milliseconds: try again later
    continue;
  }
  const lines = (await answer.text()).trimEnd().split("\n");
  console.log(`${batch_id}: ${lines.length} results`);
  message.ack(); // only now: a crash before it brings the event again
}
