"""AWS's own SDK, unmodified, beside the native dialect: what the daemon itself has to do for each."""
import os
import pathlib
import subprocess

from rig.daemon import Daemon
from rig.machine import REPOSITORY
from rig.ratios import Section, spread

ROUNDS, CALLS = 9, 1500

# Both sides with Node's own HTTP below them, one call after another.
CLIENT = """
import http from "node:http";
import { createRequire } from "node:module";
const [url, side, calls] = process.argv.slice(2);
const payload = JSON.stringify({ name: "you" });
let call;
if (side === "sdk") {
  const aws = createRequire(process.env.CLIENTS + "/package.json")("@aws-sdk/client-lambda");
  const client = new aws.LambdaClient({ endpoint: url, region: "local", maxAttempts: 1 });
  call = () => client.send(new aws.InvokeCommand({ FunctionName: "echo", Payload: payload }));
} else {
  const agent = new http.Agent({ keepAlive: true });
  const headers = { "Content-Type": "application/json", "x-api-key": process.env.DORMOUSE_KEY };
  call = () => new Promise((resolve, reject) => {
    const request = http.request(url + "/f/echo", { method: "POST", agent, headers }, (response) => {
      response.resume().on("end", () => response.statusCode === 200 ? resolve() : reject(new Error(response.statusCode)));
    });
    request.on("error", reject).end(payload);
  });
}
process.stdout.write("ready\\n");
process.stdin.on("data", async () => {
  for (let i = 0; i < Number(calls); i++) await call();
  process.stdout.write("done\\n");
});
"""


def used(pid):
    """Seconds that the process was on a processor, all its threads, by the scheduler's own count."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class Side:
    def __init__(self, daemon, name, script):
        keys = daemon.keys
        env = {**os.environ, "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"], "DORMOUSE_KEY": keys["key"],
               "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"], "CLIENTS": str(REPOSITORY / ".deps/clients")}
        self.daemon, self.name, self.each = daemon, name, []
        self.process = subprocess.Popen(["node", script, daemon.url, name, str(CALLS)], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said("ready")

    def said(self, word):
        line = self.process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"{self.name} said {line!r}, not {word}")

    def measure(self):
        before = used(self.daemon.process.pid)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.said("done")
        self.each.append((used(self.daemon.process.pid) - before) / CALLS * 1e6)

    def end(self):
        self.process.kill()
        self.process.wait()


def run(watch):
    section = Section("lambda_", "AWS's own SDK beside the native dialect")
    with Daemon(watch, signed=True) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", max_instances=1)
        script = daemon.dir / "client.mjs"
        script.write_text(CLIENT)
        sides = [Side(daemon, "sdk", script), Side(daemon, "native", script)]
        for side in sides:
            side.measure()
            side.each.clear()
        for number in range(ROUNDS):
            for side in sides if number % 2 else reversed(sides):
                side.measure()
            watch.look()
        for side in sides:
            side.end()
    sdk, native = sides
    section.add("the daemon's own time of an Invoke through the SDK / of a native call", "≤ 1.3×",
                [a / b for a, b in zip(sdk.each, native.each)], 1.3)
    section.note(f"{ROUNDS} rounds of {CALLS} calls, one after another, of a function that does nothing, from "
                 "`@aws-sdk/client-lambda` and from Node's own HTTP client, in turn. The daemon's own time is what its threads were on a "
                 "processor, by the scheduler's count. Medians (quartiles), µs a call.")
    section.table(["", "µs a call"], [["SDK, signed", spread(sdk.each)], ["native, with a key", spread(native.each)]])
    return section
