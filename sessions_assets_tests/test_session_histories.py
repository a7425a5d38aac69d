"""R28 to R31 after random histories on real tables: deliveries, corrections, upkeep, rebuilds, damage, deaths.

Every expectation is computed by the reference from the rows of ods_sessions, which other tests compare with the rule.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from delta.tables import DeltaTable as SparkTable
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.lake import sessions
from sessions_assets.lake.ledger import closed_days
from sessions_assets.lake.settled import end_of, told
from sessions_assets.lake.tables import ODS_SESSIONS, SESSION_CHANGES, SESSIONS, Table
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.summarize import summarize
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS, TIMEOUTS_BY_PRODUCT, pack, random_history
from sessions_assets_tests.lakes import Lake, naive
from sessions_assets_tests.pages import Page
from sessions_assets_tests.reference import (
    Event,
    IdChange,
    Row,
    Summary,
    expected_id_changes,
    expected_summaries,
    lost_ids,
)
from sessions_assets_tests.tables import stored_rows, write_batches

RULES = [
    SessionRule(timeout, timeouts=TIMEOUTS_BY_PRODUCT[2]) for timeout in (timedelta(minutes=5), timedelta(hours=6))
]
RETENTION = timedelta(days=2)


class Lakeside:
    """A lake under test, the rule it is built with, and the rows of each version of ods_sessions."""

    def __init__(self, lake: Lake, landing: Path, rng: Random) -> None:
        self.lake, self.landing, self.rng = lake, landing, rng
        self.rule = RULES[0]
        self.versions: dict[int, list[Row]] = {}
        self.settled_changed = 0

    def deliver(self, batches: dict[date, list[Event]]) -> None:
        """Land batches, but those of closed days."""
        closed = closed_days(self.lake.ledger.entries())
        taken = {day: events for day, events in batches.items() if day not in closed}
        if taken:
            write_batches(self.landing, taken, ("first", "second"))
            land(self.lake.spark, self.lake, Landing(str(self.landing)), list(taken), LATENESS_DAYS)

    def apply(self, days: list[date]) -> None:
        """Apply days; the settled sessions that change are counted (R30)."""
        before = self.rows()
        limit = told(self.lake.ledger.entries())
        run = apply(self.lake.spark, self.lake, days, self.rule)
        changed = changed_settled(before, self.rows(), limit, self.rule) if limit else []
        assert (run.settled.sessions, list(run.settled.examples)) == (len(changed), changed[:20])
        self.settled_changed += len(changed)

    def rows(self) -> list[Row]:
        """Return the rows of ods_sessions now, and note those of all versions since the last time."""
        if self.lake.find(ODS_SESSIONS) is None:
            return []
        newest = self.lake.version(ODS_SESSIONS)
        for version in range(max(self.versions, default=-1) + 1, newest + 1):
            self.versions[version] = stored_rows(self.lake, version)
        return self.versions[newest]

    def summarize(self) -> None:
        """Bring the derived tables on; all laws hold then."""
        summarize(self.lake.spark, self.lake, self.rule)
        assert self.summaries() == expected_summaries(self.rows())
        stamp = sessions.stamp_of(self.lake.snapshot(SESSIONS))
        changes = sessions.stamp_of(self.lake.snapshot(SESSION_CHANGES), may_lack_rows=True)
        assert stamp is not None
        assert stamp == changes
        assert stamp.version == max(self.versions)
        told_changes = self.changes()
        for version in range(stamp.since + 1, stamp.version + 1):
            moved = [change for at, change in told_changes if at == version]
            assert moved == expected_id_changes(self.versions[version - 1], self.versions[version]), version
        self.follow(stamp.since, told_changes)

    def follow(self, since: int, changes: list[tuple[int, IdChange]]) -> None:
        """Each id ever given since then leads to those that hold its rows now (R29)."""
        assert lost_ids({at: rows for at, rows in self.versions.items() if at >= since}, changes) == []

    def summaries(self) -> list[Summary]:
        """Return the rows of sessions, sorted."""
        return sorted(Summary(*row) for row in self.lake.rows(SESSIONS, ", ".join(Summary._fields)))

    def changes(self) -> list[tuple[int, IdChange]]:
        """Return the rows of session_changes by version, those of one version sorted."""
        rows = self.lake.rows(SESSION_CHANGES, "ods_version, old_session_id, new_session_id, kind, rows")
        return sorted(((row[0], IdChange(*row[1:])) for row in rows), key=lambda found: (found[0], str(found[1])))

    def is_the_aggregate_of_its_stamp(self) -> None:
        """Whatever was done since: sessions equals the version that it names (R28)."""
        table = self.lake.find(SESSIONS)
        stamp = sessions.stamp_of(table) if table else None
        if stamp is not None:
            self.rows()
            assert self.summaries() == expected_summaries(self.versions[stamp.version])


def changed_settled(before: Iterable[Row], after: Iterable[Row], limit: date, rule: SessionRule) -> list[str]:
    """Return the ids of settled sessions whose rows differ, and of those that are new, sorted (R30)."""
    old, new = _by_session(before), _by_session(after)

    def is_settled(rows: Iterable[Row]) -> bool:
        last, product = max((row.timestamp, row.product_code) for row in rows if row.is_user_action)
        return last + rule.timeouts.get(product, rule.timeout) < end_of(limit).replace(tzinfo=None)

    gone = [session for session, rows in old.items() if rows != new.get(session) and is_settled(rows)]
    come = [session for session, rows in new.items() if session not in old and is_settled(rows)]
    return sorted(gone + come)


def _by_session(rows: Iterable[Row]) -> dict[str, set[Row]]:
    found: dict[str, set[Row]] = {}
    for row in rows:
        if row.session_id is not None:
            found.setdefault(row.session_id, set()).add(row)
    return found


def compact(place: Lakeside) -> None:
    maintain.compact(place.lake.spark, place.lake, -1)


def expire(place: Lakeside) -> None:
    maintain.expire(place.lake.spark, place.lake, RETENTION)


def rebuild(place: Lakeside) -> None:
    place.rule = RULES[1 - RULES.index(place.rule)]
    maintain.rebuild(place.lake.spark, place.lake, place.rule)


def lose(place: Lakeside) -> None:
    shutil.rmtree(place.lake.path(SESSIONS), ignore_errors=True)


def lose_changes(place: Lakeside) -> None:
    shutil.rmtree(place.lake.path(SESSION_CHANGES), ignore_errors=True)


def set_back(place: Lakeside) -> None:
    if place.lake.find(SESSIONS):
        SparkTable.forPath(place.lake.spark, place.lake.path(SESSIONS)).restoreToVersion(0)


def die_between(place: Lakeside) -> None:
    """The run ends after it has appended to session_changes."""
    commit = sessions.commit_summaries
    sessions.commit_summaries = _dies  # type: ignore[assignment]
    try:
        summarize(place.lake.spark, place.lake, place.rule)
    except KeyboardInterrupt:
        pass
    finally:
        sessions.commit_summaries = commit


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


def nothing(_: Lakeside) -> None:
    pass


Happening = Callable[[Lakeside], None]
HAPPENINGS: list[Happening] = [
    nothing, nothing, compact, expire, rebuild, lose, lose_changes, set_back, die_between
]  # fmt: skip


def play(place: Lakeside, histories: int, happenings: Sequence[Happening]) -> None:
    """Land and apply rounds of random deliveries in random groups; between the runs something happens, or nothing."""
    rule = place.rule
    drawn = [random_history(place.rng, rule.timeout, rounds=2, timeouts=rule.timeouts) for _ in range(histories)]
    for batches in pack(drawn):
        place.deliver(batches)
        entries = place.lake.ledger.entries()
        days = [day for day, entry in entries.items() if not entry.applied_at and day in batches]
        place.rng.shuffle(days)
        while days:
            size = place.rng.choice((1, 2, 3, len(days)))
            place.apply(sorted(days[:size]))
            days = days[size:]
            place.rng.choice(happenings)(place)
            place.is_the_aggregate_of_its_stamp()
            if place.rng.random() < 0.6:
                place.summarize()
    place.summarize()


def replayed(lake: Lake, table: Table, columns: tuple[str, ...]) -> None:
    """The feed from version 0 on gives every version (R31)."""
    feed = lake.spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 0)
    # As texts: what comes out of Spark and of delta-rs is compared.
    texts = [F.col(name).cast("string") for name in ("_commit_version", "_change_type", *columns)]
    rows = [tuple(row) for row in feed.load(lake.path(table)).select(*texts).collect()]
    held: Counter[tuple[str | None, ...]] = Counter()
    for version in range(lake.version(table) + 1):
        for _, kind, *values in (row for row in rows if row[0] == str(version)):
            held[tuple(values)] += 1 if kind in {"insert", "update_postimage"} else -1
        expected = lake.read(table, version).select(*texts[2:]).collect()
        assert {row: times for row, times in held.items() if times} == Counter(map(tuple, expected)), (table, version)


def replayed_by_delta_rs(
    lake: Lake, table: Table, columns: tuple[str, ...], removes_files: Callable[[dict[str, Any]], bool]
) -> None:
    """So does the feed as delta-rs reads it, but for the commits after which the page reads the whole table."""
    names = ", ".join(columns)
    stored = DeltaTable(lake.path(table))
    for commit in lake.snapshot(table).commits(lake.version(table)):
        version = int(commit["version"])
        if commit["operation"] in {"OPTIMIZE", "CREATE TABLE"} or removes_files(commit):
            continue
        feed = stored.load_cdf(starting_version=version, ending_version=version).read_all()
        held = Counter(lake.rows(table, names, version=version - 1))
        told = [feed.column(name).to_pylist() for name in ("_change_type", *columns)]
        for kind, *values in zip(*told, strict=True):
            held[tuple(naive(value) for value in values)] += 1 if kind in {"insert", "update_postimage"} else -1
        assert {row: times for row, times in held.items() if times} == Counter(
            lake.rows(table, names, version=version)
        ), (table, version)


@pytest.mark.long
@pytest.mark.parametrize("way", ["rows", "merge"])
def test_any_history_keeps_the_laws(
    way: str, seed: int, number_of_histories: int, spark: SparkSession, tmp_path: Path
) -> None:
    """Summaries, changes of ids, settled sessions and both feeds, after hundreds of packed histories."""
    rng = Random(f"{seed} {way}")  # noqa: S311 - the report names the seed
    place = Lakeside(Lake(spark, str(tmp_path / "lake"), commit=way), tmp_path / "landing", rng)
    # Of days that have expired no settled session can change any more.
    happenings = [happening for happening in HAPPENINGS if way == "rows" or happening is not expire]
    play(place, max(number_of_histories // 2, 10), happenings)
    assert way == "rows" or place.settled_changed
    replayed(place.lake, ODS_SESSIONS, Row._fields)
    replayed(place.lake, SESSIONS, Summary._fields)
    (program,) = (text for text in Page("docs/tables.md").code("python") if "def removes_files" in text)
    page: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(tmp_path)
        exec(program, page)  # noqa: S102 - the page's own text
    replayed_by_delta_rs(place.lake, ODS_SESSIONS, Row._fields, page["removes_files"])
    replayed_by_delta_rs(place.lake, SESSIONS, Summary._fields, page["removes_files"])
