"""Has the model tiny-stories go on from a beginning, and streams on what it says, word by word."""
import json

import dormouse


def handler(event, context):
    begin = event.get("begin", "And it came to pass")
    yield begin
    wish = {"prompt": begin, "max_tokens": event.get("length", 96), "temperature": 0.7, "stop": "\n\n", "stream": True}
    for said in dormouse.stream("tiny-stories", wish):
        if said != "[DONE]":
            yield json.loads(said)["choices"][0]["text"]
