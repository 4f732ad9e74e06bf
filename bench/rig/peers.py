"""The peers, as their committed configurations say, and the load that all of them get."""
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from rig.machine import CLIENT_CORE, PROGRAMS, REPOSITORY, output


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")


class Nginx:
    """The echo server, and nginx in front of it, on one core."""

    def __init__(self, core):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-peer-"))
        self.dir.chmod(0o755)  # nginx's worker is another user.
        self.echo_port, self.port = free_port(), free_port()
        text = (REPOSITORY / "bench/echo/nginx.conf").read_text()
        text = text.replace("PREFIX", str(self.dir)).replace("PORT", str(self.port))
        (self.dir / "nginx.conf").write_text(text)
        pin = ["taskset", "-c", str(core)]
        self.echo = subprocess.Popen(
            [*pin, PROGRAMS / "bench_echo_server", self.dir / "echo.sock", str(self.echo_port)])
        wait_for(self.echo_port)
        (self.dir / "echo.sock").chmod(0o666)
        self.nginx = subprocess.Popen(
            [*pin, "nginx", "-p", self.dir, "-c", self.dir / "nginx.conf"])
        wait_for(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self.nginx, self.echo):
            each.terminate()
            each.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def pids(self):
        children = pathlib.Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children")
        return [self.echo.pid, self.nginx.pid, *map(int, children.read_text().split())]


def load(port, path="/", core=CLIENT_CORE, **options):
    """Runs bench_load; gives what it prints, times in microseconds."""
    words = [PROGRAMS / "bench_load", "--port", port, "--path", path]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), value]
    return json.loads(output(words, core))


class Burden:
    """A load that goes on while something else is measured."""

    def __init__(self, port, path, connections, body, kind):
        self.process = subprocess.Popen(
            [PROGRAMS / "bench_load", "--port", str(port), "--path", path, "--connections",
             str(connections), "--body", body, "--type", kind, "--until-stopped"],
            stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.said = json.loads(self.process.communicate()[0])
