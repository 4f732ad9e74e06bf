#!/usr/bin/python3
"""Prints what Pillow makes of the picture that resample_test.cc and framing_test.cc draw, for their
tables. Needs Debian's python3-pil."""
from PIL import Image

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def drawn(width, height):
    picture = Image.new("RGB", (width, height))
    picture.putdata([tuple((x * x * 7 + y * 59 + channel * 83) % 256 for channel in range(3))
                     for y in range(height) for x in range(width)])
    return picture


def told(picture):
    return "{" + ", ".join(str(value) for pixel in picture.getdata() for value in pixel) + "}"


for size, wanted, name in [((7, 5), (3, 2), "bilinear"), ((7, 5), (3, 2), "bicubic"),
                           ((7, 5), (9, 2), "bilinear"), ((2, 2), (3, 3), "bilinear"),
                           ((2, 2), (3, 3), "bicubic"), ((40, 30), (1, 2), "bilinear"),
                           ((5, 1), (5, 1), "bicubic")]:
    print(size, wanted, name, told(drawn(*size).resize(wanted, FILTERS[name])))

# As torchvision's Resize(side / 0.875) and CenterCrop(side) do it.
for size, side in [((20, 10), 3), ((9, 16), 4), ((8, 8), 3)]:
    short = int(side / 0.875)
    width, height = size
    scaled = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = (round((each - side) / 2) for each in scaled)
    cut = drawn(*size).resize(scaled, Image.BILINEAR).crop((left, top, left + side, top + side))
    print("crop", size, side, scaled, (left, top), told(cut))
