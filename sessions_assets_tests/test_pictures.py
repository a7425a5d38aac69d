"""The charts of a day: small, readable on any page, and true to the numbers that they are given."""

import base64
import io
from datetime import date

import pytest
from PIL import Image

from sessions_assets.dagster.charts import picture_of_day, picture_of_durations
from sessions_assets.lake.sessions import DURATION_CLASSES

DAY = date(2025, 3, 18)
LARGEST = 40_000


def drawn(hours: dict[int, int], late: dict[int, int]) -> tuple[Image.Image, int]:
    """Draw a day; return the picture and its size in bytes as metadata."""
    return decoded(picture_of_day(DAY, hours, late))


def decoded(text: str) -> tuple[Image.Image, int]:
    assert text.startswith("![2025-03-18](data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(text.split("base64,")[1][:-1]))).convert("RGBA"), len(text)


def colours(picture: Image.Image) -> set[tuple[int, int, int]]:
    """Return the colours of the opaque pixels."""
    return {colour[:3] for _, colour in picture.getcolors(1_000_000) if colour[3] == 255}


def test_a_busy_day_stays_small() -> None:
    picture, size = drawn({hour: 10 ** (hour % 12) // 7 for hour in range(24)}, dict.fromkeys(range(-1, 31), 10**9))
    assert size < LARGEST
    assert (picture.width, picture.height) == (792, 242)


@pytest.mark.parametrize(("hours", "late"), [({}, {}), ({0: 1}, {}), ({}, {-1: 3})])
def test_an_empty_half_is_drawn_as_well(hours: dict[int, int], late: dict[int, int]) -> None:
    blue, orange = (59, 130, 246), (245, 158, 11)
    shown = colours(drawn(hours, late)[0])
    assert (blue in shown, orange in shown) == (bool(hours), bool(late))


def test_nothing_is_black_or_white_and_the_background_is_transparent() -> None:
    """So it is readable in the light and in the dark theme."""
    picture, _ = drawn({9: 3}, {0: 7})
    assert picture.getpixel((0, 0)) == (0, 0, 0, 0) or picture.getpixel((0, 0))[3] == 0
    assert all(max(colour) > 60 and min(colour) < 200 for colour in colours(picture))


def test_the_durations_of_sessions() -> None:
    """As many bars as classes that have sessions, the most sessions highest, and small with large numbers."""
    picture, size = decoded(picture_of_durations(DAY, dict.fromkeys(range(len(DURATION_CLASSES)), 10**9)))
    assert size < LARGEST
    assert (59, 130, 246) in colours(picture)
    heights = heights_of_bars(decoded(picture_of_durations(DAY, {0: 10, 3: 40, len(DURATION_CLASSES) - 1: 20}))[0])
    assert len(heights) == 3
    assert [round(4 * height / max(heights)) for height in heights] == [1, 4, 2]
    assert heights_of_bars(decoded(picture_of_durations(DAY, {}))[0]) == []


def heights_of_bars(picture: Image.Image) -> list[int]:
    """Return the heights of the blue bars, from left to right."""
    heights: list[int] = []
    was_blue = False
    for x in range(picture.width):
        height = sum(picture.getpixel((x, y)) == (59, 130, 246, 255) for y in range(picture.height))
        if height and not was_blue:
            heights.append(0)
        was_blue = bool(height)
        if height:
            heights[-1] = max(heights[-1], height)
    return heights
