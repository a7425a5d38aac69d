"""Numbers, tables and rows as metadata of the UI: their keys and types.

A number has the same key in every run, so that its plot over the days makes sense. Must not know where numbers come
from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg

from sessions_assets.dagster.charts import picture_of_day, picture_of_durations
from sessions_assets.lake.sessions import DayOfSessions
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, Table
from sessions_assets.pipeline.audit import SHOWN_ATTRIBUTES
from sessions_assets.pipeline.results import AppliedDay, ApplyResult, ChangeCounts, LandedDay
from sessions_assets.pipeline.summarize import Summarized
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS

PICTURED_DAYS = 31
"""The newest days of a run that get a chart. Nobody opens the days of a year's first load one by one: a month is what
the UI lists on a page, and a chart takes a tenth of a second to draw and 20 KB of the event log."""

# The columns of raw_events from which a column of ods_sessions is derived, if not from the one of the same name.
_SOURCES = {
    "is_user_action": ["event_id"],
    "session_id": [*IDENTITY_COLUMNS],
    "session_start": [*IDENTITY_COLUMNS],
    "first_updated_at": [ARRIVAL_DAY],
    "pdate": ["timestamp"],
}


def table_metadata(table: Table) -> dict[str, Any]:
    """Return the metadata of a table that no run changes: its name and columns."""
    columns = [
        dg.TableColumn(
            column.name, column.sql_type.lower(), column.meaning, dg.TableColumnConstraints(nullable=column.nullable)
        )
        for column in table.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": table.name}


def column_lineage(carried: Sequence[str]) -> dict[str, Any]:
    """Return from which columns of raw_events each column of ods_sessions is derived."""
    raw = dg.AssetKey(RAW_EVENTS.name)
    derived = _SOURCES | {name: ["attributes"] for name in carried}
    sources = {
        column.name: [dg.TableColumnDep(raw, name) for name in derived.get(column.name, [column.name])]
        for column in ODS_SESSIONS.carrying(carried).columns
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(sources)}


def run_metadata(seconds: float, spark_ui: str | None) -> dict[str, Any]:
    """Return how long the step took, and the address of Spark's UI, if it serves one."""
    return {"seconds": seconds, **({"spark_ui": dg.MetadataValue.url(spark_ui)} if spark_ui else {})}


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """Return rows as a table of texts; NULL is written as in SQL."""
    texts = [{name: "NULL" if row[name] is None else str(row[name]) for name in columns} for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in texts], schema)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_ATTRIBUTES} more" if len(names) > SHOWN_ATTRIBUTES else ""
    return ", ".join(names[:SHOWN_ATTRIBUTES]) + more or "none"


def landed_metadata(landed: LandedDay) -> dict[str, Any]:
    """Return the numbers of a landed day."""
    odd_times = {"ambiguous": landed.ambiguous_times, "missing": landed.missing_times}
    return {
        "source": landed.source,
        "attributes": _listed(landed.attributes),
        "rows_delivered": landed.rows_delivered,
        "rows_accepted": landed.rows_accepted,
        "rows_quarantined": landed.rows_quarantined,
        **{f"quarantined/{reason}": rows for reason, rows in sorted(landed.quarantined.items())},
        **{f"late/{days}_days": rows for days, rows in sorted(landed.late_by_days.items())},
        **{f"local_times/{kind}": rows for kind, rows in odd_times.items() if rows is not None},
        "dagster/partition_row_count": landed.rows_accepted,
    }


def applied_metadata(applied: AppliedDay, sessions_by_hour: Mapping[int, int]) -> dict[str, Any]:
    """Return the numbers of an applied day."""
    seen = applied.events_first_seen
    return {
        "sessions_begun": sum(sessions_by_hour.values()),
        "rows_accepted": applied.rows_accepted,
        "duplicates": applied.duplicates,
        "rows_inserted": applied.rows_inserted,
        "events_first_seen": seen,
        "empty_share": round(applied.empty_events / seen, 4) if seen else 0.0,
        "dagster/partition_row_count": seen,
    }


def picture_metadata(
    days: Mapping[date, AppliedDay], sessions_by_hour: Mapping[date, Mapping[int, int]]
) -> dict[date, dict[str, Any]]:
    """Return the chart of each of the newest days, up to `PICTURED_DAYS` of them."""
    return {
        day: {"picture": dg.MetadataValue.md(picture_of_day(day, sessions_by_hour[day], days[day].late_by_days))}
        for day in sorted(days)[-PICTURED_DAYS:]
    }


def absent_metadata(names: Sequence[str]) -> dict[str, Any]:
    """Return the carried attributes that no batch of a run has."""
    return {"carried_without_values": ", ".join(names)} if names else {}


def settled_metadata(run: ApplyResult, newest: date) -> dict[str, Any]:
    """Return through which dates events are final after a run, and how far the newest day is ahead of that (R30)."""
    through = {name: str(day) if day else "none" for name, day in asdict(run.final).items()}
    settled = run.final.settled_through
    lag = {"settled_lag_days": (newest - settled).days} if settled else {}
    return {**through, **lag, "run/settled_sessions_changed": run.settled.sessions}


def sessions_metadata(numbers: Mapping[date, DayOfSessions]) -> dict[date, dict[str, Any]]:
    """Return the numbers of the sessions that began on each day; the newest days have a chart too."""
    pictured = sorted(numbers)[-PICTURED_DAYS:]
    return {
        day: {
            **{name: value for name, value in asdict(found).items() if name != "by_duration"},
            "dagster/partition_row_count": found.sessions,
            **(
                {"picture": dg.MetadataValue.md(picture_of_durations(day, found.by_duration))}
                if day in pictured
                else {}
            ),
        }
        for day, found in numbers.items()
    }


def summarized_metadata(run: Summarized) -> dict[str, Any]:
    """Return what a run changed in sessions and session_changes, and which versions of the tables these are."""
    moves = {
        f"ids/{kind}{'' if days is None else f'_{days}_days_late'}": number
        for (kind, days), number in sorted(run.moves.items(), key=str)
    }
    return {
        **{f"run/summaries_{change}": rows for change, rows in run.rows.items()},
        **moves,
        "ids/settled": run.settled_moves,
        "ids/known_since_version": run.since,
        "computed_anew": run.rebuilt or "no",
        "ods_version": run.ods_version,
        "delta_version": run.version,
    }


def changes_metadata(counts: ChangeCounts, version: int | None) -> dict[str, Any]:
    """Return what a run changed, or would change, of the sessions, and the version of ods_sessions; None: no table."""
    return {
        **{f"run/rows_{change}": rows for change, rows in counts.rows.items()},
        **{f"run/sessions_{outcome}": sessions for outcome, sessions in counts.sessions.items()},
        "delta_version": version,
    }
