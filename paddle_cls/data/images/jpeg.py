"""JPEG by OpenCV: the same pixels as Pillow's in half the time. Pillow has what is unusual, and all where OpenCV is missing."""

import functools
import importlib.util

import numpy as np

from ...system.threads import opencv

MAX_PIXELS = 178_956_970                           # Pillow's limit; a photograph has fewer, a decompression bomb more
START, END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = (0xC0, 0xC1, 0xC2)                       # start of a baseline, extended or progressive image
NO_MEMORY = -4                                     # the code of OpenCV's error
_REDUCED = (8, 4, 2)                               # parts of a side that it can decode to
_HAS_OPENCV = functools.cache(lambda: importlib.util.find_spec("cv2") is not None)


def header(content: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a JPEG of 8 bits, grey or in three colours, or None for anything else.

    content: the file, or its beginning; None too if that ends before the size is told.
    """
    at = 2 if content.startswith(START) else len(content)
    while at + 9 < len(content) and content[at] == 0xFF:
        if content[at + 1] in _FRAMES:
            bits, parts = content[at + 4], content[at + 9]
            height, width = (int.from_bytes(content[at + n:at + n + 2], "big") for n in (5, 7))
            return (width, height) if bits == 8 and parts in (1, 3) and width and height else None
        at += 2 + int.from_bytes(content[at + 2:at + 4], "big")
    return None


def decode(content: bytes, size: int | None = None) -> np.ndarray | None:
    """Return the picture in a JPEG file as uint8 (H, W, 3) RGB, turned as its EXIF says; None where Pillow must look.

    size: see `transforms.decode`. A file that does not end as a JPEG does may be cut off, of which some versions of OpenCV
    say nothing.
    """
    sides = header(content)
    if not _HAS_OPENCV() or sides is None or sides[0] * sides[1] > MAX_PIXELS or not content.endswith(END):
        return None
    cv2 = opencv()
    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)   # since OpenCV 4.11
    scale = next((scale for scale in _REDUCED if size and min(sides) // (2 * size) >= scale), 1)
    how = getattr(cv2, f"IMREAD_REDUCED_COLOR_{scale}") if scale > 1 else cv2.IMREAD_COLOR if rgb is None else rgb
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    return image if image is None or how == rgb else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
