"""The peers in Python: examples/pandas-table behind gunicorn, which forks workers of a loaded program
(`application`, for --preload), and in a process for each request (run as a program: the table comes
in, its summary goes out)."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples/pandas-table"))
import app  # noqa: E402

if __name__ != "__main__":
    for _ in range(20):
        app.rehearse_template()


def summary(body):
    return json.dumps(app.handler({"body": body.decode(), "isBase64Encoded": False}, None)).encode()


def application(environ, start_response):
    answer = summary(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


if __name__ == "__main__":
    sys.stdout.buffer.write(summary(sys.stdin.buffer.read()))
