"""Reads a page of text: cuts it into lines, and has the function read-text-line read each. Gives a
thumbnail with what was read."""

import base64
import io

import dormouse
from PIL import Image, ImageOps

LINE_HEIGHT = 48  # What the model sees.
INK_MIN = 64  # Of 255: less is paper.
LINES_MAX = 100
THUMBNAIL = (200, 200)  # At most.


def bands(page):
    """The rows that have ink, as (top, bottom), from the top down."""
    ink = page.point(lambda value: 255 if value >= INK_MIN else 0)
    rows = [ink.crop((0, y, ink.width, y + 1)).getbbox() is not None for y in range(ink.height)]
    top = None
    for y, has_ink in enumerate([*rows, False]):
        if has_ink and top is None:
            top = y
        elif not has_ink and top is not None:
            if y - top > 4:  # Less is dust.
                yield top, y
            top = None


def picture_of(page, top, bottom):
    """A line with a margin around it, of the model's height, as PNG."""
    margin = (bottom - top) // 4
    left, _, right, _ = page.crop((0, top, page.width, bottom)).getbbox()
    line = ImageOps.expand(page.crop((left, top, right, bottom)), margin, 0)
    width = max(1, line.width * LINE_HEIGHT // line.height)
    written = io.BytesIO()
    ImageOps.invert(line).resize((width, LINE_HEIGHT)).save(written, "PNG")
    return written.getvalue()


def thumbnail_of(page):
    """The page made small, as the URL that an <img> takes."""
    small = page.convert("RGB")
    small.thumbnail(THUMBNAIL)
    written = io.BytesIO()
    small.save(written, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()


def body_of(event):
    """Bytes of a call whose body is not JSON: it comes as the event of a function URL."""
    if not isinstance(event, dict) or "isBase64Encoded" not in event:
        raise ValueError("send a picture, with Content-Type: image/png")
    return base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()


def handler(event, context):
    page = Image.open(io.BytesIO(body_of(event)))
    inked = ImageOps.invert(page.convert("L"))  # Ink is bright.
    found = list(bands(inked))
    if len(found) > LINES_MAX:
        raise ValueError(f"the page has {len(found)} lines; {LINES_MAX} are read at most")
    pictures = [picture_of(inked, *band) for band in found]
    lines = [dormouse.invoke("read-text-line", each, content_type="image/png") for each in pictures]
    return {"lines": lines, "thumbnail": thumbnail_of(page)}
