"""Make the sample data of this project: `python -m sessions_assets_tests.sample_batches` writes `batches/`.

Ordinary people fill the files, planted cases make them worth reading: each is a user with a telling name,
listed in `batches/README.md`, which this script writes too, so that its tables cannot drift from the data.
"""

import csv
import gzip
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType, TimestampType

SEED = 20250310
FIRST_DAY = date(2025, 3, 10)  # a Monday
DAYS = tuple(FIRST_DAY + timedelta(days=n) for n in range(14))  # two weeks, all of which raw keeps
EMPTY_DAY = date(2025, 3, 16)  # a Sunday on which the collector was down; its events came on Monday
DELIVERY_DAYS = tuple(day for day in DAYS if day != EMPTY_DAY)
LATENESS_DAYS = 5  # the default N: nothing ordinary may come later, only planted rows are refused

PRODUCTS = ("editor", "viewer", "console")
ACTIONS = ("a", "b", "c")
OUTSIDE = ("sync", "sync", "heartbeat", "heartbeat", "heartbeat", "crash_report")  # crashes are rarer
PEOPLE = 190  # with the planted ones about 200
NIGHT_OWLS = 12  # every twelfth person starts before midnight, so that ordinary sessions cross it
WORKS_ON_WEEKDAY, WORKS_ON_WEEKEND = 0.18, 0.05
LATE = 0.045  # share of rows that come 1 to 5 days late
TWICE, AGAIN = 0.005, 0.01  # share of rows repeated in their batch, or in a later one
FRACTION = 0.1  # share of events with microseconds; the rest stay easy to read

COLUMNS = ("user_id", "event_id", "product_code", "timestamp")
APP_VERSION = "4.2.0"


class Row(NamedTuple):
    """One event as delivered: every value is text, as the files hold it."""

    user_id: str
    event_id: str
    product_code: str
    timestamp: str


Line = Row | str  # a text is a raw line that no parser accepts


class Story(NamedTuple):
    """A planted user. Each line of `plan` is: batch, event, timestamp as delivered."""

    user: str
    product: str
    look_for: str
    plan: str

    def deliveries(self) -> Iterator[tuple[date, Row]]:
        """Yield each planted row with the batch that brings it."""
        for line in self.plan.strip().splitlines():
            batch, event, timestamp = line.split(maxsplit=2)
            yield date.fromisoformat(batch), Row(self.user, event, self.product, timestamp)


class Refused(NamedTuple):
    """A planted row that must end in quarantine."""

    batch: date
    reason: str
    line: Line


class Batch(NamedTuple):
    """How one day is delivered; a folder holds one file for each column order."""

    name: str
    orders: tuple[tuple[str, ...], ...] = (COLUMNS,)
    special: str = ""


BATCHES = (
    Batch("2025-03-10.csv", special="first day"),
    Batch("2025-03-11.csv.gz", special="gzip"),
    Batch("2025-03-12.csv", (("timestamp", "user_id", "product_code", "event_id"),), "other column order"),
    Batch("2025-03-13.jsonl", special="JSON lines; timestamps with `T`"),
    Batch("2025-03-14.parquet", special="written by Spark, `timestamp` is a TIMESTAMP"),
    Batch("2025-03-15.csv", special="a Saturday"),
    Batch("2025-03-16.csv", special="the header only: the collector was down; its events came on Monday"),
    Batch(
        "2025-03-17/",
        (COLUMNS, ("product_code", "timestamp", "event_id", "user_id"), COLUMNS[::-1]),
        "a folder of three files, each with its own column order",
    ),
    Batch("2025-03-18.csv", ((*COLUMNS[:3], "app_version", "timestamp"),), "an additional column"),
    Batch("2025-03-19.jsonl.gz", (COLUMNS[::-1],), "gzipped JSON lines; timestamps with `T`"),
    Batch("2025-03-20.csv", (("event_id", "user_id", "timestamp", "product_code"),), "other column order"),
    Batch("2025-03-21.csv"),
    Batch("2025-03-22.csv", special="a Saturday"),
    Batch("2025-03-23.csv", special="a Sunday"),
)

LONG_HAUL_START = datetime(2025, 3, 11, 23, 30, tzinfo=UTC)  # half an hour before midnight: three UTC dates
LONG_HAUL = timedelta(hours=26)
LONG_HAUL_STEP = timedelta(seconds=290)  # below the timeout of 300 s


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(" ")


def _long_haul() -> str:
    instants = (LONG_HAUL_START + n * LONG_HAUL_STEP for n in range(LONG_HAUL // LONG_HAUL_STEP + 1))
    return "\n".join(f"{at.date()} a {_text(at)}" for at in instants)


STORIES = (
    Story(
        "1",
        "I",
        "The worked example. Until 03-17: sessions 10:00:00 and 10:08:00, none for the `x` at 09:59:00 and "
        "the `z`. On 03-18 an `a` at 10:04:30 comes three days late: one session, 10:00:00; "
        "the `x` at 10:04:00 is not rewritten.",
        """
        2025-03-15 x 2025-03-15 09:59:00
        2025-03-15 a 2025-03-15 10:00:00
        2025-03-15 x 2025-03-15 10:04:00
        2025-03-15 b 2025-03-15 10:08:00
        2025-03-15 c 2025-03-15 10:13:00
        2025-03-15 y 2025-03-15 10:18:00
        2025-03-15 z 2025-03-15 10:18:01
        2025-03-18 a 2025-03-15 10:04:30
        """,
    ),
    Story(
        "late-left",
        "editor",
        "1 day late: `a` at 13:57:00 extends the session 14:00:00 to the left and renames it: 13:57:00.",
        """
        2025-03-17 b 2025-03-17 14:00:00
        2025-03-17 autosave 2025-03-17 14:01:00
        2025-03-17 c 2025-03-17 14:02:00
        2025-03-18 a 2025-03-17 13:57:00
        """,
    ),
    Story(
        "late-join",
        "editor",
        "2 days late: `c` at 10:04:00 joins the sessions 10:00:00 and 10:08:00; the earlier id stays.",
        """
        2025-03-12 a 2025-03-12 10:00:00
        2025-03-12 b 2025-03-12 10:08:00
        2025-03-12 autosave 2025-03-12 10:09:00
        2025-03-14 c 2025-03-12 10:04:00
        """,
    ),
    Story(
        "late-midnight",
        "console",
        "2 days late: `c` just after midnight joins the session of 03-19 with that of 03-20.",
        """
        2025-03-19 a 2025-03-19 23:57:00
        2025-03-20 b 2025-03-20 00:05:00
        2025-03-22 c 2025-03-20 00:01:00
        """,
    ),
    Story(
        "late-native",
        "viewer",
        "3 days late: a `sync` joins the session 11:00:00; no other row changes.",
        """
        2025-03-18 a 2025-03-18 11:00:00
        2025-03-18 b 2025-03-18 11:03:00
        2025-03-21 sync 2025-03-18 11:02:00
        """,
    ),
    Story(
        "late-right",
        "viewer",
        "4 days late: `c` at 09:07:00 extends the session 09:00:00 to the right; older rows stay as they are.",
        """
        2025-03-13 a 2025-03-13 09:00:00
        2025-03-13 b 2025-03-13 09:03:00
        2025-03-17 c 2025-03-13 09:07:00
        """,
    ),
    Story(
        "late-fills",
        "console",
        "5 days late, the most that is accepted: `a` at 07:59:00 gives two native events their session.",
        """
        2025-03-14 sync 2025-03-14 08:00:00
        2025-03-14 heartbeat 2025-03-14 08:02:00
        2025-03-19 a 2025-03-14 07:59:00
        """,
    ),
    Story(
        "twice-in-batch",
        "editor",
        "Each event twice in one batch, `b` in two spellings of one instant: two events in ODS.",
        """
        2025-03-10 a 2025-03-10 10:00:00
        2025-03-10 a 2025-03-10 10:00:00
        2025-03-10 b 2025-03-10 10:02:00
        2025-03-10 b 2025-03-10 12:02:00+02:00
        """,
    ),
    Story(
        "twice-across",
        "editor",
        "The same two events in three batches: two events in ODS, first_updated_at 03-11.",
        """
        2025-03-11 a 2025-03-11 10:00:00
        2025-03-11 autosave 2025-03-11 10:01:00
        2025-03-13 a 2025-03-11 10:00:00
        2025-03-13 autosave 2025-03-11 10:01:00
        2025-03-14 a 2025-03-11 10:00:00
        2025-03-14 autosave 2025-03-11 10:01:00
        """,
    ),
    Story(
        "tie-native",
        "editor",
        "A native event at the instant of the first action: inside.",
        """
        2025-03-10 autosave 2025-03-10 09:00:00
        2025-03-10 b 2025-03-10 09:00:00
        """,
    ),
    Story(
        "tie-actions",
        "viewer",
        "Two actions at one instant: one session, two events.",
        """
        2025-03-10 b 2025-03-10 09:00:00
        2025-03-10 a 2025-03-10 09:00:00
        2025-03-10 c 2025-03-10 09:04:00
        """,
    ),
    Story(
        "gap-under",
        "editor",
        "One microsecond less than the timeout: one session.",
        """
        2025-03-11 a 2025-03-11 10:00:00
        2025-03-11 b 2025-03-11 10:04:59.999999
        """,
    ),
    Story(
        "gap-exact",
        "editor",
        "Exactly the timeout: one session.",
        """
        2025-03-11 a 2025-03-11 10:00:00
        2025-03-11 b 2025-03-11 10:05:00
        """,
    ),
    Story(
        "gap-over",
        "editor",
        "One microsecond more than the timeout: two sessions.",
        """
        2025-03-11 a 2025-03-11 10:00:00
        2025-03-11 b 2025-03-11 10:05:00.000001
        """,
    ),
    Story(
        "no-bridge",
        "viewer",
        "A native event between two actions 480 s apart does not bridge them: two sessions.",
        """
        2025-03-12 a 2025-03-12 10:00:00
        2025-03-12 heartbeat 2025-03-12 10:04:00
        2025-03-12 b 2025-03-12 10:08:00
        """,
    ),
    Story(
        "outside",
        "console",
        "Native events outside the one session 08:01:00: no session, and the `sync` does not hide its start.",
        """
        2025-03-13 crash_report 2025-03-13 03:00:00
        2025-03-13 sync 2025-03-13 08:00:00
        2025-03-13 a 2025-03-13 08:01:00
        2025-03-13 heartbeat 2025-03-13 08:06:01
        """,
    ),
    Story(
        "two-products",
        "editor",
        "One session 10:00:00; the actions in `viewer` are not part of it.",
        """
        2025-03-14 a 2025-03-14 10:00:00
        2025-03-14 b 2025-03-14 10:04:00
        """,
    ),
    Story(
        "two-products",
        "viewer",
        "Two sessions 10:02:00 and 10:08:00; the action in `editor` does not bridge them.",
        """
        2025-03-14 a 2025-03-14 10:02:00
        2025-03-14 b 2025-03-14 10:08:00
        """,
    ),
    Story(
        "sub-second",
        "viewer",
        "Session 09:00:00.123456: `b` is exactly 300 s later, the `sync` one microsecond too late for it.",
        """
        2025-03-14 a 2025-03-14 09:00:00.123456
        2025-03-14 b 2025-03-14 09:05:00.123456
        2025-03-14 sync 2025-03-14 09:10:00.123457
        """,
    ),
    Story(
        "offset",
        "editor",
        "One session 10:00:00 UTC in three spellings, and one at 22:30:00 UTC of the same day.",
        """
        2025-03-18 a 2025-03-18 12:00:00+02:00
        2025-03-18 b 2025-03-18T10:04:00Z
        2025-03-18 c 2025-03-18 10:08:00
        2025-03-18 a 2025-03-19 00:30:00+02:00
        """,
    ),
    Story(
        "offset",
        "console",
        "The same in JSON: one session 08:00:00 UTC.",
        """
        2025-03-19 a 2025-03-19 10:00:00+02:00
        2025-03-19 b 2025-03-19 08:04:00.5Z
        """,
    ),
    Story(
        "midnight",
        "editor",
        "One session 23:58:00 over two dates and two batches.",
        """
        2025-03-20 a 2025-03-20 23:58:00
        2025-03-20 autosave 2025-03-20 23:59:00
        2025-03-21 b 2025-03-21 00:01:00
        """,
    ),
    Story(
        "long-haul",
        "console",
        "One session of 26 hours over three dates: an action every 290 s, as a machine would.",
        _long_haul(),
    ),
    Story(
        "clock-ahead",
        "viewer",
        "An event dated one day after its batch: accepted.",
        """
        2025-03-20 a 2025-03-21 00:10:00
        """,
    ),
    Story(
        "007",
        "viewer",
        "Not the user `7`; the zeros stay, in CSV as in JSON.",
        """
        2025-03-12 a 2025-03-12 10:00:00
        2025-03-13 a 2025-03-13 10:00:00
        """,
    ),
    Story(
        "7",
        "viewer",
        "Not the user `007`.",
        """
        2025-03-12 b 2025-03-12 10:01:00
        """,
    ),
    Story(
        "anna#1",
        "editor",
        "The session id begins with `anna%231#editor#`.",
        """
        2025-03-21 a 2025-03-21 10:00:00
        """,
    ),
    Story(
        "anna%231",
        "editor",
        "The session id begins with `anna%25231#editor#`, so the two users never share one.",
        """
        2025-03-21 a 2025-03-21 10:00:00
        """,
    ),
)

REFUSED = (
    Refused(date(2025, 3, 10), "blank_user_id", Row("", "a", "viewer", "2025-03-10 11:00:00")),
    Refused(date(2025, 3, 12), "blank_product_code", Row("bad-product", "a", "  ", "2025-03-12 11:00:00")),
    Refused(date(2025, 3, 13), "blank_event_id", Row("bad-event", "", "viewer", "2025-03-13 11:00:00")),
    Refused(date(2025, 3, 13), "unparsable_row", '{"user_id": "bad-json", "event_id": "a", "product_co'),
    Refused(date(2025, 3, 15), "blank_timestamp", Row("bad-missing", "a", "viewer", "")),
    Refused(date(2025, 3, 15), "unparsable_row", "bad-short,a"),
    Refused(date(2025, 3, 18), "unparsable_timestamp", Row("bad-time", "a", "viewer", "yesterday")),
    Refused(date(2025, 3, 20), "unparsable_timestamp", Row("bad-date", "a", "viewer", "2025-03-20")),
    Refused(date(2025, 3, 18), "too_late", Row("too-late", "a", "editor", "2025-03-12 23:59:59.999999")),
    Refused(date(2025, 3, 21), "too_late", Row("clock-reset", "a", "editor", "1970-01-01 00:00:07")),
    Refused(date(2025, 3, 19), "future", Row("future", "a", "editor", "2025-03-21 00:00:00")),
)


def _tick(rng: Random, at: datetime) -> datetime:
    """Return the instant of the next action of a burst: below the timeout, now and then with a fraction."""
    fraction = rng.randrange(1_000_000) if rng.random() < FRACTION else 0
    return (at + timedelta(seconds=rng.randrange(5, 240))).replace(microsecond=fraction)


def _working_day(rng: Random, products: list[str], at: datetime) -> Iterator[tuple[datetime, str, str]]:
    """Yield (instant, event, product) of one person: bursts with pauses, and lunch after the second burst."""
    for burst in range(rng.randrange(3, 7)):
        product = rng.choice(products)
        for _ in range(rng.randrange(2, 8)):
            at = _tick(rng, at)
            yield at, rng.choice(ACTIONS), product
            if rng.random() < 0.25:
                yield at + timedelta(seconds=rng.randrange(1, 30)), "autosave", product
        if rng.random() < 0.4:
            yield at + timedelta(seconds=rng.randrange(200, 600)), rng.choice(OUTSIDE), product
        at += timedelta(minutes=rng.randrange(45, 80) if burst == 1 else rng.randrange(6, 50))


def _people(rng: Random) -> Iterator[tuple[date, Row]]:
    """Yield each ordinary event with its date."""
    for number in range(1, PEOPLE + 1):
        products = [rng.choice(PRODUCTS), rng.choice(PRODUCTS)]
        hours = (22, 24) if number % NIGHT_OWLS == 0 else (6, 11)
        for day in DAYS:
            works = WORKS_ON_WEEKDAY if day.isoweekday() <= 5 else WORKS_ON_WEEKEND
            if rng.random() < works:
                start = datetime.combine(day, time(rng.randrange(*hours), rng.randrange(60)), UTC)
                for at, event, product in _working_day(rng, products, start):
                    yield at.date(), Row(f"u-{number:03}", event, product, _text(at))


def _arrivals(rng: Random, day: date) -> Iterator[date]:
    """Yield the batches that bring an event of this day: mostly its own, some late, some more than once."""
    later = [d for d in DELIVERY_DAYS if day < d <= day + timedelta(days=LATENESS_DAYS)]
    arrival = day if day in DELIVERY_DAYS else later[0]
    if later and rng.random() < LATE:
        arrival = rng.choice(later)
    yield arrival
    if rng.random() < TWICE:
        yield arrival
    again = [d for d in later if d > arrival]
    if again and rng.random() < AGAIN:
        yield rng.choice(again)


def deliveries() -> dict[date, list[Line]]:
    """Return the lines of each batch, in the order of the file: as a collector leaves them, not sorted."""
    rng = Random(SEED)  # noqa: S311 - sample data must be repeatable, not secret
    batches: dict[date, list[Line]] = {day: [] for day in DAYS}
    for day, row in _people(rng):
        if day <= DAYS[-1]:  # what the last night brings comes after the sample
            for arrival in _arrivals(rng, day):
                batches[arrival].append(row)
    for story in STORIES:
        for arrival, row in story.deliveries():
            batches[arrival].append(row)
    for refused in REFUSED:
        batches[refused.batch].append(refused.line)
    for lines in batches.values():
        rng.shuffle(lines)
    return batches


def instant(timestamp: str) -> datetime:
    """Return the instant that a delivered timestamp means: without an offset it is UTC."""
    at = datetime.fromisoformat(timestamp)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _csv(lines: list[Line], order: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, order, lineterminator="\n")
    writer.writeheader()
    extra = {"app_version": APP_VERSION} if "app_version" in order else {}
    for line in lines:
        if isinstance(line, Row):
            writer.writerow(line._asdict() | extra)
        else:
            text.write(f"{line}\n")
    return text.getvalue()


def _jsonl(lines: list[Line], order: tuple[str, ...]) -> str:
    """Return JSON lines; an empty value is a missing field."""
    texts = []
    for line in lines:
        if isinstance(line, Row):
            values = line._replace(timestamp=line.timestamp.replace(" ", "T"))._asdict()
            texts.append(json.dumps({name: values[name] for name in order if values[name]}))
        else:
            texts.append(line)
    return "".join(f"{text}\n" for text in texts)


def _write_text(path: Path, lines: list[Line], order: tuple[str, ...]) -> None:
    data = (_jsonl if ".jsonl" in path.name else _csv)(lines, order).encode()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        # No file name and no time inside, so that the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(data)
        data = packed.getvalue()
    path.write_bytes(data)


def _write_parquet(spark: SparkSession, path: Path, lines: list[Line], order: tuple[str, ...]) -> None:
    """Write one Parquet file: of the folder that Spark makes, only the part file is kept."""
    types = {name: TimestampType() if name == "timestamp" else StringType() for name in order}
    schema = StructType([StructField(name, types[name]) for name in order])
    events = [line for line in lines if isinstance(line, Row)]
    rows = [row._asdict() | {"timestamp": instant(row.timestamp)} for row in events]
    with tempfile.TemporaryDirectory() as scratch:
        frame = spark.createDataFrame([tuple(row[name] for name in order) for row in rows], schema)
        frame.coalesce(1).write.parquet(f"{scratch}/day")
        (part,) = Path(scratch, "day").glob("part-*.parquet")
        shutil.copyfile(part, path)


def _write_batch(spark: SparkSession, target: Path, batch: Batch, lines: list[Line]) -> None:
    path = target / batch.name
    if batch.name.endswith("/"):
        path.mkdir(exist_ok=True)
        for n, order in enumerate(batch.orders):
            _write_text(path / f"part-{n}.csv", lines[n :: len(batch.orders)], order)
    elif path.suffix == ".parquet":
        _write_parquet(spark, path, lines, batch.orders[0])
    else:
        _write_text(path, lines, batch.orders[0])


def _table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _totals(batches: dict[date, list[Line]]) -> str:
    refused = {item.line for item in REFUSED}
    accepted = [
        (day, line, instant(line.timestamp))
        for day, lines in batches.items()
        for line in lines
        if isinstance(line, Row) and line not in refused
    ]
    late = Counter((day - at.date()).days for day, _, at in accepted)
    rows: list[tuple[object, ...]] = [
        ("delivered rows", sum(map(len, batches.values()))),
        ("refused rows", len(REFUSED)),
        ("accepted rows", len(accepted)),
        ("distinct accepted events", len({(line[:3], at) for _, line, at in accepted})),
        ("users among them", len({line.user_id for _, line, _ in accepted})),
    ]
    days = range(1, LATENESS_DAYS + 1)
    rows += [(f"accepted rows that arrived {n} day{'s' * (n > 1)} late", late[n]) for n in days]
    return _table(("what", "count"), rows)


def _days_table(batches: dict[date, list[Line]]) -> str:
    rows: list[tuple[object, ...]] = []
    for day, batch in zip(DAYS, BATCHES, strict=True):
        orders = "; ".join(map(", ".join, batch.orders))
        rows.append((day, f"{day:%a}", f"`{batch.name}`", len(batches[day]), orders, batch.special))
    return _table(("day", "", "batch", "rows", "columns, in this order", "what is special"), rows)


def _stories_table() -> str:
    rows: list[tuple[object, ...]] = []
    for story in STORIES:
        arrivals = sorted({f"{day:%m-%d}" for day, _ in story.deliveries()})
        rows.append((f"`{story.user}`", f"`{story.product}`", ", ".join(arrivals), story.look_for))
    return _table(("user", "product", "batches", "what to look for"), rows)


def _refused_table() -> str:
    rows: list[tuple[object, ...]] = []
    for day, reason, line in sorted(REFUSED, key=lambda refused: refused.batch):
        rows.append((f"{day:%m-%d}", reason, f"`{','.join(line) if isinstance(line, Row) else line}`"))
    return _table(("batch", "reason", "row"), rows)


def readme(batches: dict[date, list[Line]]) -> str:
    """Return the text of `batches/README.md`."""
    return f"""# Sample batches

Two weeks of generated product events, one batch for each arrival day. Most events of a batch are dated that
day, some arrive up to {LATENESS_DAYS} days late. The users `u-001` to `u-{PEOPLE}` are ordinary people, each other user
is a planted case. User actions are `a`, `b` and `c`, everything else is a native event; the session timeout is 300 s.

Generated by `python -m sessions_assets_tests.sample_batches` with seed {SEED}, which also writes this page.
Do not edit either by hand: a test generates them again and compares. Rows are in no order.

{_totals(batches)}

## Days

{_days_table(batches)}

## Planted cases

All times are UTC.

{_stories_table()}

## Rows that must be refused

Each as user_id, event_id, product_code, timestamp, or as the raw line.

{_refused_table()}
"""


def write(target: Path, spark: SparkSession) -> None:
    """Write all batches and their README into an existing folder; only the Parquet day needs Spark."""
    batches = deliveries()
    for day, batch in zip(DAYS, BATCHES, strict=True):
        _write_batch(spark, target, batch, batches[day])
    (target / "README.md").write_text(readme(batches), encoding="utf-8")


def main() -> None:
    """Write the batches of this repository."""
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    # Parquet's own timestamp type; Spark's default is an older one that not every reader knows.
    spark = builder.config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS").getOrCreate()
    write(Path(__file__).parent.parent / "batches", spark)
    spark.stop()


if __name__ == "__main__":
    main()
