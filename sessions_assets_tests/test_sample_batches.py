"""The sample batches are what their README says: made by the script, and with every planted case in them."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets_tests.reference import Event, refusal, sessionize
from sessions_assets_tests.sample_batches import (
    BATCHES,
    COLUMNS,
    DAYS,
    EMPTY_DAY,
    LATENESS_DAYS,
    LONG_HAUL,
    LONG_HAUL_STEP,
    PRODUCTS,
    REFUSED,
    STORIES,
    Line,
    Row,
    Story,
    deliveries,
    instant,
    write,
)

COMMITTED = Path(__file__).parent.parent / "batches"
TIMEOUT = timedelta(seconds=300)
USER_ACTIONS = frozenset("abc")
Lines = dict[date, list[Line]]
Events = list[tuple[date, Event]]

# What the rule makes of each planted user: the session starts of its events in time order, "-" for none,
# once the batches up to this day of March have arrived. Two lines of one user: before and after its late event.
STARTS = [
    ("1", "I", 17, "- 10:00:00 10:00:00 10:08:00 10:08:00 10:08:00 -"),
    ("1", "I", 18, "- 10:00:00 10:00:00 10:00:00 10:00:00 10:00:00 10:00:00 -"),
    ("late-left", "editor", 17, "14:00:00 14:00:00 14:00:00"),
    ("late-left", "editor", 18, "13:57:00 13:57:00 13:57:00 13:57:00"),
    ("late-join", "editor", 13, "10:00:00 10:08:00 10:08:00"),
    ("late-join", "editor", 14, "10:00:00 10:00:00 10:00:00 10:00:00"),
    ("late-midnight", "console", 21, "23:57:00 00:05:00"),
    ("late-midnight", "console", 22, "23:57:00 23:57:00 23:57:00"),
    ("late-native", "viewer", 20, "11:00:00 11:00:00"),
    ("late-native", "viewer", 21, "11:00:00 11:00:00 11:00:00"),
    ("late-right", "viewer", 16, "09:00:00 09:00:00"),
    ("late-right", "viewer", 17, "09:00:00 09:00:00 09:00:00"),
    ("late-fills", "console", 18, "- -"),
    ("late-fills", "console", 19, "07:59:00 07:59:00 07:59:00"),
    ("twice-in-batch", "editor", 10, "10:00:00 10:00:00"),
    ("twice-across", "editor", 14, "10:00:00 10:00:00"),
    ("tie-native", "editor", 10, "09:00:00 09:00:00"),
    ("tie-actions", "viewer", 10, "09:00:00 09:00:00 09:00:00"),
    ("gap-under", "editor", 11, "10:00:00 10:00:00"),
    ("gap-exact", "editor", 11, "10:00:00 10:00:00"),
    ("gap-over", "editor", 11, "10:00:00 10:05:00.000001"),
    ("no-bridge", "viewer", 12, "10:00:00 10:00:00 10:08:00"),
    ("outside", "console", 13, "- - 08:01:00 -"),
    ("two-products", "editor", 14, "10:00:00 10:00:00"),
    ("two-products", "viewer", 14, "10:02:00 10:08:00"),
    ("sub-second", "viewer", 14, "09:00:00.123456 09:00:00.123456 -"),
    ("offset", "editor", 18, "10:00:00 10:00:00 10:00:00 22:30:00"),
    ("offset", "console", 19, "08:00:00 08:00:00"),
    ("midnight", "editor", 21, "23:58:00 23:58:00 23:58:00"),
    ("clock-ahead", "viewer", 20, "00:10:00"),
    ("007", "viewer", 13, "10:00:00 10:00:00"),
    ("7", "viewer", 13, "10:01:00"),
    ("anna#1", "editor", 21, "10:00:00"),
    ("anna%231", "editor", 21, "10:00:00"),
]


def _lines_of_csv(text: str) -> Iterator[Line]:
    header, *records = csv.reader(text.splitlines())
    for record in records:
        values = dict(zip(header, record, strict=False))
        yield Row(*(values[name] for name in COLUMNS)) if len(record) == len(header) else ",".join(record)


def _lines_of_json(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            yield line
        else:
            yield Row(*(values.get(name, "") for name in COLUMNS))


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def _lines(path: Path, spark: SparkSession) -> Iterator[Line]:
    if path.is_dir():
        for part in sorted(path.iterdir()):
            yield from _lines(part, spark)
    elif path.suffix == ".parquet":
        frame = spark.read.parquet(str(path)).selectExpr(*COLUMNS[:3], "CAST(timestamp AS STRING)")
        yield from (Row(*row) for row in frame.collect())
    else:
        yield from (_lines_of_json if ".jsonl" in path.name else _lines_of_csv)(_text(path))


@pytest.fixture(scope="module")
def committed(spark: SparkSession) -> Lines:
    """Read the committed batches with code that shares nothing with the script's."""
    return {day: list(_lines(COMMITTED / batch.name, spark)) for day, batch in zip(DAYS, BATCHES, strict=True)}


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _reason(day: date, line: Line) -> str | None:
    """Return the reason why a row must be refused; None for an event."""
    if isinstance(line, str):
        return "unparsable_row"
    blank = [name for name, value in zip(COLUMNS, line, strict=True) if not value.strip()]
    if blank:
        return f"blank_{blank[0]}"
    try:
        at = instant(line.timestamp)
    except ValueError:
        return "unparsable_timestamp"
    has_time = ":" in line.timestamp
    return refusal(at.date(), day, LATENESS_DAYS) if has_time else "unparsable_timestamp"


def _event(row: Row) -> Event:
    return Event(*row[:3], instant(row.timestamp).replace(tzinfo=None))


@pytest.fixture(scope="module")
def events(committed: Lines) -> Events:
    """Keep what a batch may hold, with its arrival day."""
    return [
        (day, _event(line))
        for day, lines in committed.items()
        for line in lines
        if isinstance(line, Row) and _reason(day, line) is None
    ]


def test_the_script_makes_the_committed_files(tmp_path: Path, spark: SparkSession) -> None:
    write(tmp_path, spark)
    assert _files(tmp_path) == _files(COMMITTED)
    for name in _files(COMMITTED):
        made, kept = tmp_path / name, COMMITTED / name
        if name.endswith(".parquet"):
            assert list(_lines(made, spark)) == list(_lines(kept, spark))
        else:  # gzip files by their content: another zlib may pack the same rows in other bytes
            assert _text(made) == _text(kept), name


def test_every_call_gives_the_same_deliveries() -> None:
    assert deliveries() == deliveries()


def test_gzip_files_hold_no_time() -> None:
    packed = list(COMMITTED.glob("*.gz"))
    assert len(packed) == 2
    assert all(path.read_bytes()[4:8] == bytes(4) for path in packed)


def test_parquet_is_typed(spark: SparkSession) -> None:
    (path,) = COMMITTED.glob("*.parquet")
    assert spark.read.parquet(str(path)).dtypes == [
        *((name, "string") for name in COLUMNS[:3]),
        (COLUMNS[3], "timestamp"),
    ]


def test_one_batch_a_day_and_every_format() -> None:
    assert len(DAYS) >= 12
    names = [path.name for path in COMMITTED.iterdir() if path.name != "README.md"]
    assert sorted(name[:10] for name in names) == [str(day) for day in DAYS]
    assert {name[10:] for name in names} == {".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet", ""}


def test_sizes(committed: Lines, events: Events) -> None:
    assert 6_000 <= len(events) <= 10_000
    assert 180 <= len({event.user_id for _, event in events}) <= 220
    assert {event.product_code for _, event in events} == {*PRODUCTS, "I"}
    assert [day for day, lines in committed.items() if not lines] == [EMPTY_DAY]


def test_some_ordinary_events_are_late_and_some_come_twice(events: Events) -> None:
    ordinary = [(day, event) for day, event in events if event.user_id.startswith("u-")]
    lateness = Counter((day - event.timestamp.date()).days for day, event in ordinary)
    assert set(lateness) == set(range(LATENESS_DAYS + 1))
    # What came one day late is mostly the Sunday without a collector, so it is left out here.
    assert 0.02 <= sum(lateness[days] for days in range(2, LATENESS_DAYS + 1)) / len(ordinary) <= 0.06
    assert len(ordinary) - len({event for _, event in ordinary}) > 50


def test_exactly_the_planted_rows_are_refused(committed: Lines) -> None:
    reasons = {(day, line): _reason(day, line) for day, lines in committed.items() for line in lines}
    refused = {(*place, reason) for place, reason in reasons.items() if reason}
    spelled = {
        (day, line._replace(timestamp=line.timestamp.replace("T", " ")) if isinstance(line, Row) else line, reason)
        for day, line, reason in refused
    }
    assert spelled == {(item.batch, item.line, item.reason) for item in REFUSED}


def test_readme_states_the_totals(committed: Lines, events: Events) -> None:
    readme = (COMMITTED / "README.md").read_text()
    assert f"| delivered rows | {sum(map(len, committed.values()))} |" in readme
    assert f"| refused rows | {len(REFUSED)} |" in readme
    assert f"| accepted rows | {len(events)} |" in readme
    assert f"| distinct accepted events | {len({event for _, event in events})} |" in readme


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.user} {story.product}")
def test_story_lies_in_its_batches(events: Events, story: Story) -> None:
    key = (story.user, story.product)
    found = [(day, event) for day, event in events if (event.user_id, event.product_code) == key]
    assert sorted(found) == sorted((day, _event(row)) for day, row in story.deliveries())


@pytest.mark.parametrize(("user", "product", "until", "starts"), STARTS)
def test_the_rule_makes_the_story_of_it(events: Events, user: str, product: str, until: int, starts: str) -> None:
    arrived = [
        event for day, event in events if day.day <= until and (event.user_id, event.product_code) == (user, product)
    ]
    found = sessionize(arrived, TIMEOUT, USER_ACTIONS)
    in_order = sorted(found, key=lambda event: (event.timestamp, event.event_id not in USER_ACTIONS, event.event_id))
    assert [start.time().isoformat() if (start := found[event]) else "-" for event in in_order] == starts.split()


def test_every_story_is_checked_against_the_rule() -> None:
    checked = {(user, product) for user, product, _, _ in STARTS} | {("long-haul", "console")}
    assert checked == {(story.user, story.product) for story in STORIES}


def test_long_haul_is_one_session_of_26_hours(events: Events) -> None:
    instants = sorted(event.timestamp for _, event in events if event.user_id == "long-haul")
    assert {later - at for at, later in pairwise(instants)} == {LONG_HAUL_STEP}
    assert LONG_HAUL - LONG_HAUL_STEP < instants[-1] - instants[0] <= LONG_HAUL
    assert LONG_HAUL_STEP < TIMEOUT
    assert len({at.date() for at in instants}) == 3


@pytest.mark.parametrize(
    ("user", "days"),
    [
        ("late-left", 1),
        ("late-join", 2),
        ("late-midnight", 2),
        ("late-native", 3),
        ("late-right", 4),
        ("late-fills", 5),
    ],
)
def test_lateness_of_the_late_stories(events: Events, user: str, days: int) -> None:
    late = [(day - event.timestamp.date()).days for day, event in events if event.user_id == user]
    assert sorted(late)[-2:] == [0, days]


def test_the_late_event_of_the_worked_example_comes_in_the_second_half(events: Events) -> None:
    arrivals = {day for day, event in events if event.product_code == "I"}
    assert arrivals == {date(2025, 3, 15), date(2025, 3, 18)}
    assert DAYS.index(date(2025, 3, 18)) > len(DAYS) / 2
