"""The tables of the lake: their names, columns, types and what each column means.

A table's name is also the name of its folder and of its asset. Must not know how a table is read or written.
"""

from dataclasses import dataclass

from sessions_assets.rule.events import ARRIVAL_DAY


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, SQL type, meaning, and whether it may be NULL."""

    name: str
    sql_type: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the lake: name (of the folder and of the asset), columns, partition column.

    `changes_rows`: single rows are replaced, for which a file has a deletion vector; else whole partitions are, and a
    reader need not know deletion vectors, nor look for them.
    """

    name: str
    columns: tuple[Column, ...]
    partition: str | None = None
    changes_rows: bool = False


_EVENT = (
    Column("user_id", "STRING", "who, exactly as delivered"),
    Column("event_id", "STRING", "what happened, exactly as delivered"),
    Column("product_code", "STRING", "in which product, exactly as delivered"),
    Column("timestamp", "TIMESTAMP", "when it happened, UTC, to the microsecond"),
)
_ARRIVAL = Column(ARRIVAL_DAY, "DATE", "arrival day: the day that names the batch")

RAW_EVENTS = Table("raw_events", (*_EVENT, _ARRIVAL), ARRIVAL_DAY)
RAW_QUARANTINE = Table(
    "raw_quarantine",
    (
        Column("reason", "STRING", "why the row is no event"),
        Column("raw_text", "STRING", "the row as it was delivered (Parquet rows as JSON)"),
        Column("source_file", "STRING", "the file that held it"),
        _ARRIVAL,
    ),
    ARRIVAL_DAY,
)
DELIVERIES = Table(
    "deliveries",
    (
        _ARRIVAL,
        Column("source", "STRING", "the file or folder, below the landing"),
        Column("fingerprint", "STRING", "changes whenever a file of the batch does"),
        Column("rows_delivered", "BIGINT", "rows in the batch"),
        Column("rows_accepted", "BIGINT", "rows that went to raw_events"),
        Column("rows_quarantined", "BIGINT", "rows that went to raw_quarantine"),
        Column("landed_at", "TIMESTAMP", "when raw_events took the batch, UTC; NULL: begun, not ended", nullable=True),
        Column("applied_at", "TIMESTAMP", "when ods_sessions applied it, UTC; NULL: not yet", nullable=True),
        Column("expired_at", "TIMESTAMP", "when its raw rows were given up, UTC; NULL: they are kept", nullable=True),
        Column("lateness_days", "BIGINT", "how many days after its date an event of it could arrive"),
        Column("code", "STRING", "changes whenever the code that decides about rows and sessions does"),
        Column(
            "applied_by", "STRING", "a commit of ods_sessions that holds it, and its code; NULL: none", nullable=True
        ),
    ),
)
ODS_SESSIONS = Table(
    "ods_sessions",
    (
        *_EVENT,
        Column("is_user_action", "BOOLEAN", "a person did it (else the program): only these make sessions"),
        Column("session_id", "STRING", "user_id#product_code#session_start; NULL: in no session", nullable=True),
        Column("session_start", "TIMESTAMP", "first action of the session; NULL: in no session", nullable=True),
        Column("first_updated_at", "DATE", "the least arrival day that holds the event"),
        Column("pdate", "DATE", "event date: the UTC date of timestamp"),
    ),
    "pdate",
    changes_rows=True,
)
