"""Has the model tiny-stories go on from a beginning, and streams on what it says, some words at a time."""
import dormouse

MODEL = "tiny-stories"
WORDS_AT_A_TIME = 12  # Tokens, that is.


def handler(event, context):
    text = event.get("begin", "And it came to pass")
    yield text
    for _ in range(event.get("length", 8)):
        # What was told so far is known to the model: it reads only what it has not read yet.
        answer = dormouse.invoke(MODEL, {"prompt": text, "max_tokens": WORDS_AT_A_TIME,
                                         "temperature": 0.7, "stop": "\n\n"})
        choice = answer["choices"][0]
        text += choice["text"]
        yield choice["text"]
        if choice["finish_reason"] == "stop":
            return
