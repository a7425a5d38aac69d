"""The tables of the lake: names, columns, types, and the meaning of each column.

A table's name is also the name of its folder and of its asset. Must not know how a table is read or written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sessions_assets.rule.events import ARRIVAL_DAY


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, SQL type, meaning, and whether it may be NULL."""

    name: str
    sql_type: str
    meaning: str
    nullable: bool = False


def carried_meaning(name: str) -> str:
    """Return the meaning of the column of a carried attribute (R24)."""
    return f"Attribute {name} of the event, from its earliest arrival day; NULL: it had none."


@dataclass(frozen=True)
class Table:
    """A table of the lake: name (of the folder and of the asset), columns, partition column.

    `changes_rows`: single rows are replaced, marked in deletion vectors. Else whole partitions are replaced, and a
    reader needs no support for deletion vectors.
    """

    name: str
    columns: tuple[Column, ...]
    partition: str | None = None
    changes_rows: bool = False

    def carrying(self, names: Sequence[str]) -> "Table":
        """Return the table with columns for carried attributes."""
        carried = [Column(name, "STRING", carried_meaning(name), nullable=True) for name in names]
        return replace(self, columns=(*self.columns, *carried))


_EVENT = (
    Column("user_id", "STRING", "User, exactly as delivered."),
    Column("event_id", "STRING", "Kind of event, exactly as delivered."),
    Column("product_code", "STRING", "Product, exactly as delivered."),
    Column("timestamp", "TIMESTAMP", "Time of the event in UTC, to the microsecond."),
)
_ARRIVAL = Column(ARRIVAL_DAY, "DATE", "Arrival day: the date that names the batch.")

_TEXT = Column(
    "timestamp_text", "STRING", "The timestamp as delivered; NULL: the file stores a point in time.", nullable=True
)
_ATTRIBUTES = Column(
    "attributes",
    "MAP<STRING, STRING>",
    "The other columns that have a value, by their names as delivered; NULL: there is none.",
    nullable=True,
)
# Nullable, like all columns that a lake of an earlier edition lacks: its rows have NULL there.
_FILE = Column("source_file", "STRING", "File that contained the row.", nullable=True)

RAW_EVENTS = Table("raw_events", (*_EVENT, _TEXT, _ATTRIBUTES, _FILE, _ARRIVAL), ARRIVAL_DAY)
RAW_QUARANTINE = Table(
    "raw_quarantine",
    (
        Column("reason", "STRING", "Why the row was refused."),
        Column("raw_text", "STRING", "Row as delivered; a Parquet row as JSON."),
        Column("source_file", "STRING", "File that contained the row."),
        # As in raw_events, if the row could be parsed.
        *(replace(column, nullable=True) for column in _EVENT),
        _TEXT,
        _ATTRIBUTES,
        _ARRIVAL,
    ),
    ARRIVAL_DAY,
)
DELIVERIES = Table(
    "deliveries",
    (
        _ARRIVAL,
        Column("source", "STRING", "File or folder of the batch, relative to the landing."),
        Column("fingerprint", "STRING", "Fingerprint of the batch: changes when one of its files changes."),
        Column("rows_delivered", "BIGINT", "Rows in the batch."),
        Column("rows_accepted", "BIGINT", "Rows written to raw_events."),
        Column("rows_quarantined", "BIGINT", "Rows written to raw_quarantine."),
        Column(
            "landed_at", "TIMESTAMP", "When the batch was landed, UTC; NULL while landing is incomplete.", nullable=True
        ),
        Column("applied_at", "TIMESTAMP", "When ods_sessions applied the batch, UTC; NULL: not yet.", nullable=True),
        Column(
            "expired_at", "TIMESTAMP", "When the raw rows of the day expired, UTC; NULL: not expired.", nullable=True
        ),
        Column("lateness_days", "BIGINT", "Lateness in days under which the batch was landed."),
        Column("code", "STRING", "Version of the code that landed the batch: changes with its logic."),
        Column(
            "applied_by",
            "STRING",
            "Commit of ods_sessions that contains the batch, its code version, the attributes it carried; NULL: none.",
            nullable=True,
        ),
        Column(
            "attributes",
            "STRING",
            "Names of the attributes of the batch, as a JSON list; NULL: landed by an edition that kept none.",
            nullable=True,
        ),
        Column(
            "judged_from",
            "STRING",
            "Versions of raw_events and raw_quarantine from which the day is being judged again; NULL: it is not.",
            nullable=True,
        ),
        Column(
            "input_format",
            "STRING",
            "Names, separator, unit and zone by which the batch was read, as JSON; NULL: the default ones.",
            nullable=True,
        ),
        Column(
            "ambiguous_times",
            "BIGINT",
            "Accepted rows whose local time the zone had twice; NULL: the zone is UTC.",
            nullable=True,
        ),
        Column(
            "missing_times",
            "BIGINT",
            "Accepted rows whose local time the zone did not have; NULL: the zone is UTC.",
            nullable=True,
        ),
        Column(
            "settled_through",
            "DATE",
            "Last event date of which every batch was applied when the day was; NULL: none, or not told yet.",
            nullable=True,
        ),
        Column(
            "sealed_through",
            "DATE",
            "Last event date that no batch could change any more then; NULL: none, or not told yet.",
            nullable=True,
        ),
    ),
)
ODS_SESSIONS = Table(
    "ods_sessions",
    (
        *_EVENT,
        Column("is_user_action", "BOOLEAN", "True for a user action, false for a native event."),
        Column("session_id", "STRING", "user_id#product_code#session_start; NULL: outside sessions.", nullable=True),
        Column(
            "session_start",
            "TIMESTAMP",
            "Time of the first action of the session; NULL: outside sessions.",
            nullable=True,
        ),
        Column("first_updated_at", "DATE", "Earliest arrival day whose batch contains the event."),
        Column("pdate", "DATE", "Event date: the UTC date of timestamp."),
    ),
    "pdate",
    changes_rows=True,
)
SESSIONS = Table(
    "sessions",
    (
        Column("session_id", "STRING", "user_id#product_code#session_start."),
        *(column for column in _EVENT if column.name in {"user_id", "product_code"}),
        Column("session_start", "TIMESTAMP", "Time of the first action, UTC."),
        Column("session_end", "TIMESTAMP", "Time of the last action, UTC."),
        Column("duration_seconds", "DOUBLE", "From the first action to the last one, in seconds."),
        Column("user_actions", "BIGINT", "Number of user actions."),
        Column("events", "BIGINT", "Number of events, native ones included."),
        Column("first_action", "STRING", "event_id of the first action; at one instant the least."),
        Column("last_action", "STRING", "event_id of the last action; at one instant the greatest."),
        Column("first_updated_at", "DATE", "Least first_updated_at of its events."),
        Column("last_updated_at", "DATE", "Greatest first_updated_at of its events."),
        Column("start_date", "DATE", "UTC date of session_start."),
    ),
    "start_date",
    changes_rows=True,
)
SESSION_CHANGES = Table(
    "session_changes",
    (
        Column("ods_version", "BIGINT", "Version of ods_sessions that moved the rows."),
        Column("changed_at", "TIMESTAMP", "Time of its commit, UTC."),
        Column("old_session_id", "STRING", "Session of the rows before it."),
        Column(
            "new_session_id",
            "STRING",
            "Session of the rows since then; NULL: in none, or the events were removed.",
            nullable=True,
        ),
        Column("kind", "STRING", "What became of the rows: renamed, joined, split or ended."),
        Column("rows", "BIGINT", "Number of rows that moved."),
        Column("was_settled", "BOOLEAN", "Whether the old session was settled before."),
    ),
)
