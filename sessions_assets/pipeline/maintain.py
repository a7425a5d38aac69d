"""Maintain the tables beside the daily flow: expiry, compaction, and the rebuild under another rule.

Each may be interrupted and repeated. Must not know Dagster, the environment, files or how a
session is computed.
Source of the rules: R21 (retention), R22 (changing the rule), R24, R30.
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import ods, raw, writes
from sessions_assets.lake.commits import as_stored
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.ledger import closed_days
from sessions_assets.lake.settled import ANY_DAY, Calendar, settled, told
from sessions_assets.lake.spark import read, vacuum
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, SESSIONS
from sessions_assets.rule.carried import CARRIED, VALUE_COLUMNS
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import all_sessions

RETENTION = timedelta(days=14)
"""How far behind the newest applied day the raw rows of a day are kept (R21)."""


@dataclass(frozen=True)
class Totals:
    """The rows of ods_sessions: events, distinct sessions, and events in no session."""

    events: int
    sessions: int
    empty: int


@dataclass(frozen=True)
class Rebuilt:
    """The totals before and after a rebuild, and the version of its commit."""

    before: Totals
    after: Totals
    version: int


def expire(
    spark: SparkSession, lake: Lake, retention: timedelta = RETENTION, calendar: Calendar = ANY_DAY
) -> list[date]:
    """Expire raw and quarantined rows of days that are applied and older than the retention (R21).

    The ledger closes the days first, so that none of them is landed or applied while it goes. Their files stay for the
    seven days that Delta keeps old versions.

    Returns:
        The days whose rows went in this run.
    """
    before = closed_days(lake.ledger.entries())
    closed = lake.ledger.expire(retention)
    entries = lake.ledger.entries()
    if newly := closed_days(entries) - before:
        lake.ledger.record_sealed(newly, settled(entries, calendar).sealed_through)
    gone: set[date] = set()
    for table in (RAW_EVENTS, RAW_QUARANTINE):
        if snapshot := lake.find(table):
            there = [day for day, rows in snapshot.count_rows(ARRIVAL_DAY, closed).items() if rows]
            raw.delete_days(spark, snapshot, there)
            vacuum(spark, snapshot)
            gone |= set(there)
    lake.ledger.compact()
    return sorted(gone)


def compact(spark: SparkSession, lake: Lake, lateness_days: int) -> list[date]:
    """Rewrite the event dates that no later batch may hold, sorted by key, without deletion vectors.

    So are the start dates of sessions. The tables hold the same rows before and after. A date that has not changed
    since is left alone.

    Returns:
        The dates of ods_sessions that were rewritten.
    """
    applied = [day for day, entry in lake.ledger.entries().items() if entry.applied_at]
    events, summaries = lake.find(ODS_SESSIONS), lake.find(SESSIONS)
    if not applied or events is None:
        return []
    before = max(applied) - timedelta(days=lateness_days)
    dates = ods.compact(spark, events, before)
    vacuum(spark, events)
    if summaries:
        ods.compact(spark, summaries, before, "start_date")
        vacuum(spark, summaries)
    return dates


def rebuild(spark: SparkSession, lake: Lake, rule: SessionRule, calendar: Calendar = ANY_DAY) -> Rebuilt:
    """Recompute all sessions from the events of ods_sessions, under this rule, in one commit (R22).

    Carried attributes come from the raw rows of the days that are kept, of other days they stay what they are (R24).

    Raises:
        LakeError: there is no table, it cannot have the carried attributes, or another run writes it; all its rows are
            as they were then.
    """
    before = lake.snapshot(ODS_SESSIONS)
    ods.check_columns(before, rule.carried)
    stored = ods.read_rows(spark, before, rule.carried).withColumnRenamed("first_updated_at", ARRIVAL_DAY)
    events = stored.select(*IDENTITY_COLUMNS, ARRIVAL_DAY, *VALUE_COLUMNS)
    entries = lake.ledger.entries()
    if rule.carried and (raw_events := lake.find(RAW_EVENTS)):
        kept = [day for day, entry in entries.items() if entry.applied_at and not entry.expired_at]
        events = _with_delivered_values(events, raw.read_events(spark, raw_events, kept, rule.carried))
    snapshot = ods.prepare(spark, lake, before, rule.carried)
    rows = all_sessions(events, rule)
    rows = as_stored(rows, ods.columns_of(rows, rule.carried))
    notes = {**asdict(settled(entries, calendar)), "settled_before": told(entries)}
    version = writes.replace_all(spark, snapshot, rows, rule.as_properties(), notes).version
    after = lake.snapshot(ODS_SESSIONS, version)
    return Rebuilt(_totals(stored), _totals(read(spark, after)), version)


def _with_delivered_values(events: DataFrame, delivered: DataFrame) -> DataFrame:
    """Return events with the values of the batch that brought them first, if it is kept."""
    of_event = [*IDENTITY_COLUMNS, ARRIVAL_DAY]
    least = delivered.groupBy(*of_event).agg(F.min(CARRIED).alias("delivered"))
    joined = events.join(least, of_event, "left")
    return joined.withColumn(CARRIED, F.coalesce("delivered", CARRIED)).drop("delivered")


def _totals(rows: DataFrame) -> Totals:
    counts = rows.agg(F.count("*"), F.count_distinct("session_id"), F.count_if(F.col("session_id").isNull()))
    return Totals(*counts.collect()[0])
