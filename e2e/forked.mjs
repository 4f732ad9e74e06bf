// Functions in Python that are forked, and write down each call that they answered: the log of their
// own that I3 asks for.
import assert from "node:assert/strict";

const seen = `import os, time
import app

def now(): return time.monotonic_ns() // 1000

def handler(event, context):
    began = now()
    answer = app.handler(event, context)
    log = os.open("/attempts/log", os.O_WRONLY | os.O_APPEND)
    os.write(log, f"{context.aws_request_id} 1 {os.getpid()} {began} {now()}\\n".encode())
    os.close(log)
    return answer

def after_fork():
    if hasattr(app, "after_fork"): app.after_fork()
`;

export const json = { "content-type": "application/json" };

// `code` has handler(event, context).
export async function deployForked(platform, name, code, more = {}) {
  const manifest = { name, runtime: "windowed", handler: "seen.handler", memory: "96MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code, "seen.py": seen });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", name)).function.revision;
  assert.equal(notes.template, "yes");
}

export const errorOf = ({ text }) => JSON.parse(text).error;

// Sleeps for the milliseconds that it is sent, and says which process it is.
export const sleepy = `import os, time
def handler(ms, context):
    time.sleep(ms / 1000)
    return os.getpid()`;
