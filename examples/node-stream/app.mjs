// Streams Server-Sent Events: a count-down, one event at a time.
import { setTimeout as sleep } from "node:timers/promises";

const STEP_MS = 200;

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const from = Number(event?.from ?? 10);
  if (!Number.isInteger(from) || from < 1 || from > 100) {
    throw new RangeError("from: a whole number from 1 to 100");
  }
  const events = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { "Content-Type": "text/event-stream" },
  });
  for (let left = from; left > 0; --left) {
    events.write(`data: ${JSON.stringify({ left })}\n\n`);
    await sleep(STEP_MS);
  }
  events.end("event: done\ndata: {}\n\n");
});
