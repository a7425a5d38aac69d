"""How numbers, tables and rows are shown in the UI: the names and kinds of metadata.

A number has the same name in every run, so that its plot over the days makes sense. Must not know where numbers come
from.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from sessions_assets.dagster.charts import picture_of_day
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, Table
from sessions_assets.pipeline.results import ApplyResult, ChangeCounts, LandedDay
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS

# From which columns of raw_events a column of ods_sessions is made, if not from that of the same name.
_MADE_OF = {
    "is_user_action": ["event_id"],
    "session_id": [*IDENTITY_COLUMNS],
    "session_start": [*IDENTITY_COLUMNS],
    "first_updated_at": [ARRIVAL_DAY],
    "pdate": ["timestamp"],
}


def of_table(table: Table) -> dict[str, Any]:
    """Show what is so of a table whatever it holds: its name and columns."""
    columns = [
        dg.TableColumn(
            column.name, column.sql_type.lower(), column.meaning, dg.TableColumnConstraints(nullable=column.nullable)
        )
        for column in table.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": table.name}


def lineage_of_sessions() -> dict[str, Any]:
    """Show which columns of raw_events each column of ods_sessions is made of."""
    raw = dg.AssetKey(RAW_EVENTS.name)
    made_of = {
        column.name: [dg.TableColumnDep(raw, name) for name in _MADE_OF.get(column.name, [column.name])]
        for column in ODS_SESSIONS.columns
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(made_of)}


def of_run(seconds: float, spark_ui: str | None) -> dict[str, Any]:
    """Show how long a run of an asset took, and where Spark's own pages are, if it has any."""
    return {"seconds": seconds, **({"spark_ui": dg.MetadataValue.url(spark_ui)} if spark_ui else {})}


def of_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """Show rows as a table; everything in it is text, as it would be written in SQL."""
    written = [{name: "NULL" if row[name] is None else str(row[name]) for name in columns} for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in written], schema)


def of_landed(landed: LandedDay) -> dict[str, Any]:
    """Show the numbers of a landed day."""
    return {
        "source": landed.source,
        "rows_delivered": landed.rows_delivered,
        "rows_accepted": landed.rows_accepted,
        "rows_quarantined": landed.rows_quarantined,
        **{f"quarantined/{reason}": rows for reason, rows in sorted(landed.quarantined.items())},
        **{f"late/{days}_days": rows for days, rows in sorted(landed.late_by_days.items())},
        "additional_columns": ", ".join(landed.additional_columns) or "none",
        "dagster/partition_row_count": landed.rows_accepted,
    }


def of_applied(run: ApplyResult, day: date, sessions_by_hour: Mapping[int, int]) -> dict[str, Any]:
    """Show the numbers of an applied day, and its picture."""
    applied = run.days[day]
    seen = applied.events_first_seen
    return {
        "picture": dg.MetadataValue.md(picture_of_day(day, sessions_by_hour, applied.late_by_days)),
        "sessions_begun": sum(sessions_by_hour.values()),
        "rows_accepted": applied.rows_accepted,
        "duplicates": applied.duplicates,
        "rows_inserted": applied.rows_inserted,
        "events_first_seen": seen,
        "empty_share": round(applied.empty_events / seen, 4) if seen else 0.0,
        "dagster/partition_row_count": seen,
    }


def of_changes(run: ChangeCounts, version: int | None) -> dict[str, Any]:
    """Show what a run changed of the sessions."""
    return {
        **{f"run/rows_{change}": rows for change, rows in run.rows.items()},
        **{f"run/sessions_{fate}": sessions for fate, sessions in run.sessions.items()},
        "delta_version": version,
    }
