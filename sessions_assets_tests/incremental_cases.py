"""Named cases of late, repeated, withdrawn and corrected deliveries: their batches, and their rows after each run.

All cases share one lake, each under its own user. One run applies each arrival day of `SCRIPT`, in that order.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.land import land
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Row
from sessions_assets_tests.tables import event, write_batches

# Day 2 comes after day 3; then days 3 and 0 are delivered again.
SCRIPT = (0, 1, 3, 2, 3, 0)
FIRST, LATE, DAY_3, DAY_2, DAY_3_AGAIN, DAY_0_AGAIN = range(len(SCRIPT))

Batches = dict[int, list[Event]]
# After a run: of each event in time order its id and the clock time at which its session starts.
Expected = dict[int, str]

CASES: dict[str, tuple[Batches, Expected]] = {
    "late action joins two sessions": (
        {FIRST: [event("a", "10:00"), event("b", "10:08")], LATE: [event("c", "10:04")]},
        {FIRST: "a 10:00, b 10:08", LATE: "a 10:00, c 10:00, b 10:00"},
    ),
    "late action extends to the left and renames": (
        {FIRST: [event("b", "10:00"), event("x", "10:02")], LATE: [event("a", "09:57")]},
        {FIRST: "b 10:00, x 10:00", LATE: "a 09:57, b 09:57, x 09:57"},
    ),
    "late action extends to the right": (
        {FIRST: [event("a", "10:00"), event("x", "10:07")], LATE: [event("b", "10:04")]},
        {FIRST: "a 10:00, x -", LATE: "a 10:00, b 10:00, x 10:00"},
    ),
    "late native changes nothing else": (
        {FIRST: [event("a", "10:00"), event("b", "10:06")], LATE: [event("x", "10:04"), event("x", "10:30")]},
        {LATE: "a 10:00, x 10:00, b 10:06, x -"},
    ),
    "late action gives empty rows a session": (
        {FIRST: [event("x", "10:00"), event("y", "10:02")], LATE: [event("a", "09:59")]},
        {FIRST: "x -, y -", LATE: "a 09:59, x 09:59, y 09:59"},
    ),
    "late action of another product changes nothing": (
        {FIRST: [event("a", "10:00"), event("b", "10:08")], LATE: [event("c", "10:04", product="II")]},
        {LATE: "a 10:00, c 10:04, b 10:08"},
    ),
    "late action joins over midnight, beyond its own date": (
        {FIRST: [event("a", "23:56"), event("b", "00:04", 1), event("x", "00:08", 1)], LATE: [event("c", "00:00", 1)]},
        {FIRST: "a 23:56, b 00:04, x 00:04", LATE: "a 23:56, c 23:56, b 23:56, x 23:56"},
    ),
    "late action between far sessions opens one": (
        {FIRST: [event("a", "10:00"), event("b", "12:00")], LATE: [event("c", "11:00")]},
        {LATE: "a 10:00, c 11:00, b 12:00"},
    ),
    "duplicate across batches": (
        {FIRST: [event("a", "10:00")], LATE: [event("a", "10:00")]},
        {LATE: "a 10:00"},
    ),
    "out-of-order arrival days": (
        {DAY_3: [event("b", "10:04", 2), event("x", "10:08", 2)], DAY_2: [event("a", "10:00", 2)]},
        {DAY_3: "b 10:04, x 10:04", DAY_2: "a 10:00, b 10:00, x 10:00"},
    ),
    "out-of-order arrival days, joined beyond the date of the later run": (
        {DAY_3: [event("b", "00:03", 3), event("x", "00:06", 3)], DAY_2: [event("a", "23:59", 2)]},
        {DAY_3: "b 00:03, x 00:03", DAY_2: "a 23:59, b 23:59, x 23:59"},
    ),
    "re-delivered batch without a row splits a session": (
        {
            DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3), event("c", "10:08", 3), event("x", "10:09", 3)],
            DAY_3_AGAIN: [event("a", "10:00", 3), event("c", "10:08", 3), event("x", "10:09", 3)],
        },
        {DAY_3: "a 10:00, b 10:00, c 10:00, x 10:00", DAY_3_AGAIN: "a 10:00, c 10:08, x 10:08"},
    ),
    "re-delivered batch without a row shrinks a session from the left": (
        {DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3)], DAY_3_AGAIN: [event("b", "10:04", 3)]},
        {DAY_3: "a 10:00, b 10:00", DAY_3_AGAIN: "b 10:04"},
    ),
    "re-delivered batch without its action leaves natives empty": (
        {DAY_3: [event("a", "10:00", 3), event("x", "10:02", 3)], DAY_3_AGAIN: [event("x", "10:02", 3)]},
        {DAY_3: "a 10:00, x 10:00", DAY_3_AGAIN: "x -"},
    ),
    "re-delivered batch that is empty removes all it brought": (
        {DAY_3: [event("a", "10:00", 3), event("x", "10:02", 3)], DAY_3_AGAIN: []},
        {DAY_3: "a 10:00, x 10:00", DAY_3_AGAIN: ""},
    ),
    "re-delivered batch corrects a time": (
        {
            DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3)],
            DAY_3_AGAIN: [event("a", "10:00", 3), event("b", "11:04", 3)],
        },
        {DAY_3: "a 10:00, b 10:00", DAY_3_AGAIN: "a 10:00, b 11:04"},
    ),
    "re-delivered batch, row also in another batch, stays": (
        {
            FIRST: [event("a", "10:00"), event("b", "10:04")],
            LATE: [event("b", "10:04")],
            DAY_2: [event("b", "10:04")],
            DAY_0_AGAIN: [event("a", "10:00")],
        },
        {DAY_2: "a 10:00, b 10:00", DAY_0_AGAIN: "a 10:00, b 10:00"},
    ),
    "a row absent from a later batch stays": (
        {FIRST: [event("a", "10:00"), event("b", "10:04")], LATE: [event("a", "10:00")]},
        {LATE: "a 10:00, b 10:00"},
    ),
}


def batch(position: int) -> list[Event]:
    """Return the batches of all cases together; a case without a second delivery of a day repeats its first."""
    first = SCRIPT.index(SCRIPT[position])
    return [
        row._replace(user_id=name)
        for name, (batches, _) in CASES.items()
        for row in batches.get(position, batches.get(first, []))
    ]


def deliver(lake: Lake, landing: Path, arrival: date, events: Sequence[Event]) -> None:
    write_batches(landing, {arrival: events})
    land(lake.spark, lake, Landing(str(landing)), [arrival], LATENESS_DAYS)


def as_text(rows: list[Row]) -> str:
    """Return rows in the notation of the cases."""
    rows = sorted(rows, key=lambda row: (row.timestamp, row.event_id))
    starts = ["-" if row.session_start is None else f"{row.session_start:%H:%M}" for row in rows]
    return ", ".join(f"{row.event_id} {start}" for row, start in zip(rows, starts, strict=True))
