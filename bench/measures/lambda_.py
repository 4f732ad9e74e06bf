"""AWS's own SDK, unmodified, beside the native dialect: what the daemon itself has to do for each."""
import os
import pathlib
import socket
import subprocess

from rig.daemon import Daemon
from rig.instances import Connection
from rig.machine import REPOSITORY
from rig.ratios import Section, spread

ROUNDS, TURNS, CALLS = 15, 20, 100  # In a round the two sides take turns, of so many calls.
PAYLOAD = '{"name":"you"}'

# One Invoke, as the SDK signs and sends it.
CLIENT = """
const [port, payload] = process.argv.slice(1);
const aws = require(process.env.CLIENTS + "/node_modules/@aws-sdk/client-lambda");
const client = new aws.LambdaClient({ endpoint: `http://127.0.0.1:${port}`, region: "local", maxAttempts: 1 });
client.send(new aws.InvokeCommand({ FunctionName: "echo", Payload: payload })).then(() => process.exit(0));
"""


def sent_by_the_sdk(daemon):
    """The bytes of its request, which is passed on once to see that it is accepted."""
    keys = daemon.keys
    env = {**os.environ, "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
           "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"], "CLIENTS": str(REPOSITORY / ".deps/clients")}
    with socket.create_server(("127.0.0.1", 0)) as between:
        client = subprocess.Popen(["node", "-e", CLIENT, str(between.getsockname()[1]), PAYLOAD], env=env,
                                  stderr=subprocess.DEVNULL)
        taken, _ = between.accept()
        with taken:
            request = b""
            while PAYLOAD.encode() not in request:
                request += taken.recv(65536)
            with socket.create_connection(("127.0.0.1", daemon.port)) as onward:
                onward.sendall(request)
                taken.sendall(onward.recv(65536))
            if client.wait(30) != 0:
                raise RuntimeError("the SDK did not take the answer")
    return request


def used(pid):
    """Seconds that the process was on a processor, all its threads, by the scheduler's own count."""
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


class Side:
    def __init__(self, daemon, request):
        self.daemon, self.each, self.sum = daemon, [], 0
        self.connection = Connection(daemon.port, "echo", PAYLOAD)
        self.connection.request = request

    def take_turn(self):
        before = used(self.daemon.process.pid)
        for _ in range(CALLS):
            self.connection.call()
        self.sum += used(self.daemon.process.pid) - before

    def end_round(self):
        self.each.append(self.sum / (TURNS * CALLS) * 1e6)
        self.sum = 0


def run(watch):
    section = Section("lambda_", "AWS's own SDK beside the native dialect")
    with Daemon(watch, signed=True) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", max_instances=1)
        native = Connection(daemon.port, "echo", PAYLOAD).request.replace(
            b"\r\n\r\n", f"\r\nx-api-key: {daemon.keys['key']}\r\n\r\n".encode(), 1)
        signed = sent_by_the_sdk(daemon)
        sides = [Side(daemon, signed), Side(daemon, native)]
        for _ in range(1 + ROUNDS):  # The first for nothing.
            for _ in range(TURNS):
                for side in sides:
                    side.take_turn()
            for side in sides:
                side.end_round()
            watch.look()
        for side in sides:
            del side.each[0]
    sdk, plain = sides
    section.add("the daemon's own time of an Invoke that the SDK sent / of a native call", "≤ 1.3×",
                [a / b for a, b in zip(sdk.each, plain.each)], 1.3)
    section.note(f"{ROUNDS} rounds of {TURNS * CALLS} calls a side, which take turns of {CALLS}, one after another, of a function that does nothing. "
                 "`@aws-sdk/client-lambda` signs and sends one Invoke; it is repeated by the same client as the native call, so that "
                 "both come at the same pace. The daemon's own time is what its threads were on a processor, by the "
                 f"scheduler's count. The signed request has {len(signed)} bytes, the native one {len(native)}. Medians (quartiles), µs a call.")
    section.table(["", "µs a call"], [["signed by the SDK", spread(sdk.each)], ["native, with a key", spread(plain.each)]])
    return section
