#!/usr/bin/python3
"""Draws the pictures of text beside it, each with its text in a file of the same name.

Needs Debian's python3-pil and fonts-dejavu-core.
"""
import pathlib

from PIL import Image, ImageDraw, ImageFont

HERE = pathlib.Path(__file__).parent
FONTS = "/usr/share/fonts/truetype/dejavu/"
LINES = {
    "sleeps": ("A dormouse sleeps until it is called.", "DejaVuSans.ttf", 40, "black", "white"),
    "invoice": ("Invoice 2024-0815: 1,299.00 EUR", "DejaVuSans-Bold.ttf", 32, "#203050", "#f4efe0"),
}

for name, (text, font_file, size, ink, paper) in LINES.items():
    font = ImageFont.truetype(FONTS + font_file, size)
    left, top, right, bottom = font.getbbox(text)
    margin = size // 3
    picture = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, font=font, fill=ink)
    picture.save(HERE / f"{name}.png", optimize=True)
    (HERE / f"{name}.txt").write_text(text + "\n")
