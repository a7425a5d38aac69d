"""The settings: what the environment decides, each with a default that works in a fresh clone.

The only module that reads the environment. Must not know Dagster, or what is done with a setting.
"""

import json
import locale
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from sessions_assets.lake.lake import ROWS, WAYS_TO_COMMIT
from sessions_assets.lake.spark import DRIVER_MEMORY
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.rule.events import IDENTITY_COLUMNS, LATENESS_DAYS
from sessions_assets.rule.input_format import TEXT, TIMESTAMP_UNITS, UTC, InputFormat
from sessions_assets.rule.session_rule import SESSION_TIMEOUT, USER_ACTIONS
from sessions_assets.storage import DEFAULT_REGION

FIRST_SAMPLE_DAY = date(2025, 3, 10)


class SettingsError(ValueError):
    """Invalid value of an environment variable. Names the variable, its value and what was expected."""


@dataclass(frozen=True)
class Settings:
    """The configuration of a deployment; the defaults work in a fresh clone.

    Attributes:
        landing: SESSIONS_LANDING, folder or address of the batches.
        lake: SESSIONS_LAKE, folder or address of the Delta tables.
        columns: SESSIONS_COLUMNS, names of delivered columns, by column of an event.
        constants: SESSIONS_COLUMNS too, texts in quotes: each row has them, by column of an event.
        csv_separator: SESSIONS_CSV_SEPARATOR, between the fields of a CSV file.
        timestamp_unit: SESSIONS_TIMESTAMP_UNIT, of timestamps: text, or a number of s, ms, us or ns since 1970.
        time_zone: SESSIONS_TIME_ZONE, of times without an offset.
        first_day: SESSIONS_FIRST_DAY, first arrival day.
        timeout: SESSIONS_TIMEOUT_SECONDS, T.
        timeouts: SESSIONS_TIMEOUTS, T of the products that have another one, as JSON: {"IDE": 1800}.
        user_actions: SESSIONS_USER_ACTIONS, event ids separated by commas; None for `*`, every event.
        carry: SESSIONS_CARRY, names of attributes separated by commas: ods_sessions has them as columns.
        lateness_days: SESSIONS_LATENESS_DAYS, N.
        quarantine_warn_share: SESSIONS_QUARANTINE_WARN_SHARE, share of a batch; a check warns if more rows are refused.
        late_warn_share: SESSIONS_LATE_WARN_SHARE, share of the accepted rows; a check warns if more of them are late.
        duration_warn_hours: SESSIONS_DURATION_WARN_HOURS, hours; a check warns if a session is longer.
        due_hour: SESSIONS_DUE_HOUR, the hour in UTC by which the batch of the day should have arrived.
        commit: SESSIONS_COMMIT, how changed rows are committed: `rows`, by row address, or `merge`, by MERGE.
        spark_master: SPARK_MASTER.
        driver_memory: SPARK_DRIVER_MEMORY, memory of the Spark driver, which also does the work on a local master.
        s3_endpoint: AWS_ENDPOINT_URL, of an S3 store that is not Amazon's.
        s3_region: AWS_REGION.
    """

    landing: str = "batches"
    lake: str = "lake"
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    csv_separator: str = ","
    timestamp_unit: str = TEXT
    time_zone: str = UTC
    first_day: date = FIRST_SAMPLE_DAY
    timeout: timedelta = SESSION_TIMEOUT
    timeouts: Mapping[str, timedelta] = field(default_factory=dict)
    user_actions: frozenset[str] | None = USER_ACTIONS
    carry: tuple[str, ...] = ()
    lateness_days: int = LATENESS_DAYS
    quarantine_warn_share: float = 0.05
    late_warn_share: float = 0.2
    duration_warn_hours: int = 24
    due_hour: int = 12
    commit: str = ROWS
    spark_master: str = "local[*]"
    driver_memory: str = DRIVER_MEMORY
    s3_endpoint: str | None = None
    s3_region: str = DEFAULT_REGION

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":  # noqa: TID251 - its one reader
        """Return the settings of an environment; a variable that is not set, or empty, has its default.

        Raises:
            SettingsError: a value does not parse.
        """
        parsers: dict[str, tuple[str, Callable[[str], Any]]] = {
            "landing": ("SESSIONS_LANDING", _folder),
            "lake": ("SESSIONS_LAKE", _folder),
            "columns": ("SESSIONS_COLUMNS", _names),
            "constants": ("SESSIONS_COLUMNS", _constants),
            "csv_separator": ("SESSIONS_CSV_SEPARATOR", _separator),
            "timestamp_unit": ("SESSIONS_TIMESTAMP_UNIT", _unit),
            "time_zone": ("SESSIONS_TIME_ZONE", _zone),
            "first_day": ("SESSIONS_FIRST_DAY", _day),
            "timeout": ("SESSIONS_TIMEOUT_SECONDS", _seconds),
            "timeouts": ("SESSIONS_TIMEOUTS", _seconds_by_product),
            "user_actions": ("SESSIONS_USER_ACTIONS", _actions),
            "carry": ("SESSIONS_CARRY", _attributes),
            "lateness_days": ("SESSIONS_LATENESS_DAYS", _whole_days),
            "quarantine_warn_share": ("SESSIONS_QUARANTINE_WARN_SHARE", _share),
            "late_warn_share": ("SESSIONS_LATE_WARN_SHARE", _share),
            "duration_warn_hours": ("SESSIONS_DURATION_WARN_HOURS", _hours),
            "due_hour": ("SESSIONS_DUE_HOUR", _hour),
            "commit": ("SESSIONS_COMMIT", _commit),
            "spark_master": ("SPARK_MASTER", str),
            "driver_memory": ("SPARK_DRIVER_MEMORY", _memory),
            "s3_endpoint": ("AWS_ENDPOINT_URL", _endpoint),
            "s3_region": ("AWS_REGION", str),
        }
        values: dict[str, Any] = {}
        for name, (variable, parse) in parsers.items():
            if text := environment.get(variable, "").strip():
                try:
                    values[name] = parse(_bare(text))
                except ValueError as error:
                    raise SettingsError(f"{variable}={text!r}: expected {error}") from error
        settings = cls(**values)
        used = {name.lower() for name in settings.columns.values()}
        if both := [name for name in settings.carry if name.lower() in used]:
            raise SettingsError(
                f"SESSIONS_CARRY={environment['SESSIONS_CARRY']!r}: expected names that SESSIONS_COLUMNS does not use; "
                f"{both[0]} is a column of the event itself"
            )
        return settings

    @property
    def input_format(self) -> InputFormat:
        """Return how the source delivers events."""
        return InputFormat(self.columns, self.constants, self.csv_separator, self.timestamp_unit, self.time_zone)


@contextmanager
def utf8_names() -> Iterator[None]:
    """Let processes that start meanwhile take names of files for UTF-8, if this one does so against its locale.

    Under the locale C or POSIX, or one that is not installed, Python takes them for UTF-8 and a JVM for ASCII.
    """
    if sys.getfilesystemencoding() != "utf-8" or locale.nl_langinfo(locale.CODESET) == "UTF-8":
        yield
        return
    environment = os.environ  # noqa: TID251 - what a process inherits can be set nowhere else
    usual = environment.get("LC_ALL")
    environment["LC_ALL"] = "C.UTF-8"
    try:
        yield
    finally:
        del environment["LC_ALL"]
        if usual is not None:
            environment["LC_ALL"] = usual


# As in SQL: a name may be in double quotes, a text is in single ones, and a quote inside is doubled.
_SOURCE = r"""\s*(\w+)\s*=\s*('(?:[^']|'')*'|"(?:[^"]|"")*"|[^,'"\s](?:[^,'"]*[^,'"\s])?)\s*"""
_SEPARATORS = {",": ",", ";": ";", "|": "|", "\\t": "\t", "tab": "\t"}
_LONGEST_TIMEOUT = 365 * 24 * 3600 * 1_000_000


def _bare(text: str) -> str:
    # Some readers of env files leave the quotes around a value.
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        raise ValueError("a value without quotes around it")
    return text


def _folder(text: str) -> str:
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError as error:
        raise ValueError("a folder of a user who has a home") from error


def _names(text: str) -> dict[str, str]:
    # What has its own name is not renamed.
    return {
        column: name for column, (name, is_constant) in _sources(text).items() if not is_constant and name != column
    }


def _constants(text: str) -> dict[str, str]:
    return {column: value for column, (value, is_constant) in _sources(text).items() if is_constant}


def _sources(text: str) -> dict[str, tuple[str, bool]]:
    """Return for columns of an event a name or a constant, and whether it is a constant."""
    expected = (
        "columns with their names or constants, such as user_id=visitor,event_id=\"event type\",product_code='shop'"
    )
    if not re.fullmatch(rf"{_SOURCE}(?:,{_SOURCE})*", text):
        raise ValueError(expected)
    found: dict[str, tuple[str, bool]] = {}
    for column, source in re.findall(_SOURCE, text):
        quote = source[0] if source[0] in "'\"" else ""
        value = source[1:-1].replace(quote * 2, quote) if quote else source
        if column not in IDENTITY_COLUMNS or column in found or not value.strip():
            raise ValueError(f"{expected}: each of {', '.join(IDENTITY_COLUMNS)} at most once, none of them blank")
        found[column] = (value, quote == "'")
    if found.get("timestamp", ("", False))[1]:
        raise ValueError("the name of a column for timestamp: it can be no constant")
    return found


def _unit(text: str) -> str:
    if text not in TIMESTAMP_UNITS:
        raise ValueError(f"one of {' '.join(TIMESTAMP_UNITS)}")
    return text


def time_zones() -> set[str]:
    """Return the names of time zones: without those of no place, and one that Java does not have."""
    return {name for name in available_timezones() if name not in {"Factory", "localtime", "ROC"}}


def _zone(text: str) -> str:
    if text not in time_zones():
        raise ValueError("the IANA name of a time zone such as Europe/Berlin")
    return text


def _separator(text: str) -> str:
    if text not in _SEPARATORS:
        raise ValueError(f"one of {' '.join(_SEPARATORS)}, the last two for a tab")
    return _SEPARATORS[text]


def _day(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError("a day such as 2025-03-10")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a day such as 2025-03-10") from error


def _seconds(text: str) -> timedelta:
    expected = "seconds such as 300 or 299.999999: positive, at most 6 decimals, at most a year"
    try:
        microseconds = Decimal(text) * 1_000_000
    except InvalidOperation as error:
        raise ValueError(expected) from error
    if microseconds.is_nan():
        raise ValueError(expected)
    if not 0 < microseconds <= _LONGEST_TIMEOUT or microseconds != int(microseconds):
        raise ValueError(expected)
    return timedelta(microseconds=int(microseconds))


def _seconds_by_product(text: str) -> dict[str, timedelta]:
    expected = 'products with their seconds as JSON, such as {"IDE": 1800, "shop": 299.999999}'
    try:
        # Numbers as they are written: a binary fraction would not be the same number of microseconds.
        pairs = json.loads(text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=tuple)
    except ValueError as error:
        raise ValueError(expected) from error
    products = [pair[0] for pair in pairs] if isinstance(pairs, tuple) else []
    if not text.startswith("{") or len({*products}) < len(products) or not all(map(str.strip, products)):
        raise ValueError(expected)
    if other := [product for product, seconds in pairs if not isinstance(seconds, str)]:
        raise ValueError(f"{expected}; {other[0]} has none")
    return {product: _seconds(seconds) for product, seconds in pairs}


def _actions(text: str) -> frozenset[str] | None:
    actions = frozenset(_bare(action.strip()) for action in text.split(","))
    if "" in actions or ("*" in actions and len(actions) > 1):
        raise ValueError("event ids separated by commas, or * alone for every event")
    return None if actions == {"*"} else actions


# Columns that Spark and Delta have of their own beside those of a table.
_OF_DELTA = ("_metadata", "_change_type", "_commit_version", "_commit_timestamp")


def _attributes(text: str) -> tuple[str, ...]:
    names = [_bare(name.strip()) for name in text.split(",")]
    columns = {*(column.name for column in ODS_SESSIONS.columns), *_OF_DELTA}
    # Parquet and Delta have no such characters in a column's name, and tell no names apart by their case.
    if any(not name or re.search(r"[ {}()\n\t=;]", name) for name in names):
        raise ValueError("names of attributes separated by commas, without white space or one of {}()=;")
    if twice := [n for n in names if n.lower() in columns or [other.lower() for other in names].count(n.lower()) > 1]:
        raise ValueError(f"names that differ, in more than case, from each other and those of the table: {twice[0]}")
    return tuple(names)


def _whole_days(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise ValueError("a whole number of days such as 5")
    return int(text)


def _share(text: str) -> float:
    if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", text):
        raise ValueError("a share from 0 to 1 such as 0.05")
    return float(text)


def _hours(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise ValueError("a whole number of hours from 1 to 9999")
    return int(text)


def _commit(text: str) -> str:
    if text not in WAYS_TO_COMMIT:
        raise ValueError(" or ".join(WAYS_TO_COMMIT))
    return text


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[mg]", text):
        raise ValueError("an amount of memory such as 512m or 2g")
    return text


def _endpoint(text: str) -> str:
    # A user and a password in it would be shown wherever the endpoint is named.
    if not re.fullmatch(r"https?://[^/@\s]+/?", text):
        raise ValueError("a URL such as http://minio:9000, without a path, a user or a password")
    return text.rstrip("/")


def _hour(text: str) -> int:
    if not re.fullmatch(r"\d{1,2}", text) or int(text) > 23:  # noqa: PLR2004 - the last hour of a day
        raise ValueError("an hour of the day from 0 to 23")
    return int(text)
