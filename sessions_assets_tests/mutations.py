"""The known ways of breaking the algorithm, each as a change of the text of one function of the real code.

A mutation takes one function, replaces a text of it, and puts the result in the place of the original in all modules
of the package and its tests.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from sessions_assets.lake import commits
from sessions_assets.landing import json_files, parquet_files
from sessions_assets.pipeline import compute
from sessions_assets.rule import carried, changes, events, id_changes, sessions, settled_sessions
from sessions_assets.rule import summaries as summary
from sessions_assets.rule.summary_violations import VALUES_DIFFER
from sessions_assets.rule.violations import BLANK, DATE, DUPLICATE, GAP, ID, MISSING, NATIVE, START, VALUES
from sessions_assets_tests.noticing import (
    asset_checks,
    cases_of_deliveries,
    cases_of_the_rule,
    derived,
    histories,
    long_session,
    longer_timeout,
    odd_json,
    odd_parquet,
    violated,
)


class Mutation(NamedTuple):
    """A way of breaking the code, and what has to notice it.

    Attributes:
        owner: the module of the function.
        name: the name of the function.
        old: a text that occurs exactly once in it.
        new: the text that replaces it.
        noticed_by: returns what comes out wrong.
        check: a check of stored rows that must be among what comes out wrong.
    """

    owner: Any
    name: str
    old: str
    new: str
    noticed_by: Callable[[SparkSession, Path], list[str]]
    check: str | None = None

    @property
    def source(self) -> str:
        """Return the text of the function."""
        return textwrap.dedent(inspect.getsource(getattr(self.owner, self.name)))


MUTATIONS_OF_SESSIONS = {
    "gap over all events": Mutation(
        sessions, "previous_action", 'F.col("is_user_action") & F.col("arrival")', 'F.col("arrival")',
        cases_of_the_rule,
    ),
    ">= at T starts a session": Mutation(
        sessions, "with_session_start", "gap > timeout", "gap >= timeout", cases_of_the_rule
    ),
    "< at T leaves a native outside": Mutation(
        sessions, "with_session_start", "gap <= timeout", "gap < timeout", cases_of_the_rule
    ),
    "at one instant the native counts first": Mutation(
        sessions, "in_order", 'F.desc("is_user_action")', '"is_user_action"', cases_of_the_rule
    ),
    "duplicates are kept": Mutation(
        sessions, "_one_row_per_event", '.where(~F.col("repeats_previous"))', "", cases_of_the_rule
    ),
    "whole seconds": Mutation(
        sessions, "microseconds_between", "F.unix_micros(later) - F.unix_micros(earlier)",
        "1_000_000 * (F.unix_seconds(later) - F.unix_seconds(earlier))", cases_of_the_rule,
    ),
}  # fmt: skip

MUTATIONS_OF_CHANGES = {
    "the arrival of another day is not seen": Mutation(
        sessions, "_one_row_per_event", 'F.least("arrival", next_arrival)', 'F.col("arrival")', cases_of_deliveries
    ),
    "right edge closed at D": Mutation(
        changes, "_stored_context", 'F.col("timestamp") >= F.col("since")',
        '(F.col("timestamp") >= F.col("since")) & (F.col("pdate") <= F.lit(min(days)))', cases_of_deliveries,
    ),
    "no seed": Mutation(
        changes, "_stored_context", "can_change | seeds_a_session", "can_change", cases_of_deliveries
    ),
    "the seed loses its session": Mutation(
        sessions, "with_session_start", 'F.col("stored_session_start")).when(', 'F.col("timestamp")).when(', histories
    ),
    "prune bound without T": Mutation(
        compute, "_changed_rows", " - plan.rule.longest_timeout", "", long_session
    ),
    "prune bound of the default timeout": Mutation(
        compute, "_changed_rows", "plan.rule.longest_timeout", "plan.rule.timeout", longer_timeout
    ),
    "a key uses another product's timeout": Mutation(
        sessions, "with_session_start", "rule.microseconds()",
        'F.max(rule.microseconds()).over(Window.partitionBy("user_id"))', histories,
    ),
    "the seed is that of the default timeout": Mutation(
        changes, "_stored_context", "rule.microseconds()", "rule.__class__(rule.timeout).microseconds()", longer_timeout
    ),
    "what is replaced stays": Mutation(
        commits, "commit_rows", "where(change != INSERT)", "where(change == DELETE)", cases_of_deliveries
    ),
    "update guard without NULL-safety": Mutation(
        changes, "_change", '.eqNullSafe(F.col("stored_session_start"))', '.__eq__(F.col("stored_session_start"))',
        cases_of_deliveries,
    ),
    "the values of the last row": Mutation(
        sessions, "in_order", '("arrival"), CARRIED)', '("arrival"), F.desc(CARRIED))', histories
    ),
    "the values of any row of a day": Mutation(
        sessions, "in_order", '("arrival"), CARRIED)', '("arrival"), F.rand(1))', histories
    ),
    "a missing value comes first": Mutation(
        carried, "_listed", "value.isNull()", "value.isNotNull()", histories
    ),
    "the values of the stored row stay": Mutation(
        sessions, "_one_row_per_event", "F.coalesce(next_values, CARRIED)", "F.col(CARRIED)", histories
    ),
    "other values alone are no change": Mutation(
        changes, "_change", 'differs |= F.col("has_other_values")', "differs |= F.lit(False)", histories
    ),
    "rows are written that do not change": Mutation(
        changes, "_change", ".when(differs, F.lit(UPDATE))", ".otherwise(F.lit(UPDATE))", histories
    ),
    "what vanished is not looked for elsewhere": Mutation(
        compute, "_changed_rows", "of_days.unionByName(held_elsewhere(stored_of_days, of_days, other_raw))",
        "of_days",
        cases_of_deliveries,
    ),
    "what a day brought stays though it vanished": Mutation(
        changes, "_stored_context", 'F.when(~is_of_days, F.col("first_updated_at"))',
        'F.col("first_updated_at")', cases_of_deliveries,
    ),
    "since of the batch alone": Mutation(
        compute, "_changed_rows", "since = earliest_changes(touched)", "since = earliest_changes(of_days)",
        cases_of_deliveries,
    ),
}  # fmt: skip

# The table is built by a wrong rule, which agrees with itself: what the checks write a second time has to show it.
MUTATIONS_SEEN_BY_CHECKS = {
    "check: gap over all events": Mutation(
        sessions, "previous_action", 'F.col("is_user_action") & F.col("arrival")', 'F.col("arrival")',
        violated, GAP,
    ),
    "check: >= at T starts a session": Mutation(
        sessions, "with_session_start", "gap > timeout", "gap >= timeout", violated, GAP
    ),
    "check: a key uses another product's timeout": Mutation(
        sessions, "with_session_start", "rule.microseconds()",
        'F.max(rule.microseconds()).over(Window.partitionBy("user_id"))', violated, GAP,
    ),
    "check: < at T leaves a native outside": Mutation(
        sessions, "with_session_start", "gap <= timeout", "gap < timeout", violated, NATIVE
    ),
    "check: at one instant the native counts first": Mutation(
        sessions, "in_order", 'F.desc("is_user_action")', '"is_user_action"', asset_checks, NATIVE
    ),
    "check: the values of the last row": Mutation(
        sessions, "in_order", '("arrival"), CARRIED)', '("arrival"), F.desc(CARRIED))', violated, VALUES
    ),
    "check: a missing value comes first": Mutation(
        carried, "_listed", "value.isNull()", "value.isNotNull()", violated, VALUES
    ),
    "check: events of one instant are one": Mutation(
        sessions, "is_same_event", 'F.col("event_id").eqNullSafe(neighbour("event_id").over(in_order()))',
        "F.lit(True)", violated, MISSING,
    ),
    "check: duplicates are kept": Mutation(
        sessions, "_one_row_per_event", '.where(~F.col("repeats_previous"))', "", violated, DUPLICATE
    ),
    "check: gaps in whole seconds": Mutation(
        sessions, "microseconds_between", "F.unix_micros(later) - F.unix_micros(earlier)",
        "1_000_000 * (F.unix_seconds(later) - F.unix_seconds(earlier))", asset_checks, GAP,
    ),
    "check: starts in whole seconds": Mutation(
        sessions, "with_session_start", 'F.when(is_inside_session, F.col("latest_start"))',
        'F.when(is_inside_session, F.date_trunc("second", "latest_start"))', asset_checks, START,
    ),
    "check: the id always has a fraction": Mutation(
        sessions, "_start_text", "F.when(has_fraction,", "F.when(F.lit(True),", asset_checks, ID
    ),
    "check: the id never has a fraction": Mutation(
        sessions, "_start_text", "F.when(has_fraction,", "F.when(F.lit(False),", violated, ID
    ),
    "check: the id has a fraction without its trailing zeros": Mutation(
        sessions, "session_id", '_start_text("session_start")', 'F.col("session_start").cast("string")',
        violated, ID,
    ),
    "check: a per cent sign is not escaped": Mutation(
        sessions, "_escaped", 'F.lit("%25")', 'F.lit("%")', violated, ID
    ),
    "check: a number sign is not escaped": Mutation(
        sessions, "_escaped", 'F.lit("%23")', 'F.lit("#")', violated, ID
    ),
    "check: the escapes are escaped again": Mutation(
        sessions, "_escaped", 'F.lit("%"), F.lit("%25")), F.lit("#"), F.lit("%23")',
        'F.lit("#"), F.lit("%23")), F.lit("%"), F.lit("%25")', violated, ID,
    ),
    "check: another separator": Mutation(
        sessions, "session_id", 'F.concat_ws("#"', 'F.concat_ws("|"', violated, ID
    ),
    "check: product before user": Mutation(
        sessions, "session_id", '_escaped("user_id"), _escaped("product_code")',
        '_escaped("product_code"), _escaped("user_id")', violated, ID,
    ),
    "check: a date of another time zone": Mutation(
        sessions, "sessionize", 'F.to_date("timestamp")', 'F.to_date(F.timestamp_add("HOUR", F.lit(1), "timestamp"))',
        violated, DATE,
    ),
    "check: white space is not blank": Mutation(
        events, "is_blank", '~F.col(column).rlike(r"(?U)\\S")', "F.lit(False)", asset_checks, BLANK
    ),
}  # fmt: skip

MUTATIONS_OF_SUMMARIES = {
    "summary: the last action is the first": Mutation(
        summary, "summaries", "F.max(action)", "F.min(action)", derived, VALUES_DIFFER
    ),
    "summary: all events are actions": Mutation(
        summary, "summaries", 'F.count_if("is_user_action")', 'F.count("*")', derived, VALUES_DIFFER
    ),
    "summary: the last arrival day comes first": Mutation(
        summary, "summaries", 'F.min("first_updated_at")', 'F.max("first_updated_at")', derived, VALUES_DIFFER
    ),
    "summary: sessions of one action are none": Mutation(
        summary, "summaries", 'F.col("session_id").isNotNull()',
        'F.col("session_id").isNotNull() & (F.col("event_id") != "x")', derived, VALUES_DIFFER,
    ),
    "ids: what is left of a session is not seen": Mutation(
        id_changes, "_kind", 'F.coalesce("is_left", F.lit(False)) | ', "", derived
    ),
    "ids: a session that was there is not seen": Mutation(
        id_changes, "_kind", 'F.coalesce("was_there", F.lit(False)) | ', "", derived
    ),
    "ids: two sessions that become a new one are renamed": Mutation(
        id_changes, "_kind", " | (old_ids > 1)", "", derived
    ),
    "ids: what leaves all sessions is not told": Mutation(
        id_changes, "moved_rows", '.eqNullSafe(F.col("new_session_id"))', '.__eq__(F.col("new_session_id"))', derived
    ),
    "ids: settled without the timeout": Mutation(
        settled_sessions, "is_settled", " + rule.microseconds()", "", derived
    ),
}  # fmt: skip

MUTATIONS_OF_READERS = {
    "JSON: what follows the object of a line is ignored": Mutation(
        json_files, "_is_broken", 'F.col("row").isNull() | ~is_one', 'F.col("row").isNull()',
        odd_json,
    ),
    "JSON: half of a letter is a question mark": Mutation(
        json_files, "read_json", "F.when(_has_lone_surrogate()", "F.when(F.lit(False)", odd_json
    ),
    "JSON: numbers as the parser writes them": Mutation(
        json_files, "read_json", 'F.col("value").rlike(_HAS_OTHER_NUMBERS)', "F.lit(False)", odd_json
    ),
    "Parquet: times before 1970 are rounded up": Mutation(
        parquet_files, "_floor_divided", " - F.when(value % divisor < 0, 1).otherwise(0)", "", odd_parquet
    ),
    "Parquet: times as Spark reads them": Mutation(
        parquet_files, "_read_as", 'LongType() if kind.startswith("TIMESTAMP") else found', "found", odd_parquet
    ),
}  # fmt: skip

MUTATIONS = (
    MUTATIONS_OF_READERS
    | MUTATIONS_OF_SESSIONS
    | MUTATIONS_OF_CHANGES
    | MUTATIONS_OF_SUMMARIES
    | MUTATIONS_SEEN_BY_CHECKS
)


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """Replace the original function by the broken one for as long as the context lasts."""
    original: FunctionType = getattr(mutation.owner, mutation.name)
    namespace: dict[str, Any] = {}
    text = mutation.source.replace(mutation.old, mutation.new)
    exec(text, original.__globals__, namespace)  # noqa: S102 - our own code
    uses = [(names, name) for names in _users(original) for name, value in names.items() if value is original]
    for names, name in uses:
        names[name] = namespace[mutation.name]
    try:
        yield
    finally:
        for names, name in uses:
            names[name] = original


def _users(original: object) -> Iterator[dict[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.startswith("sessions_assets") and any(value is original for value in vars(module).values()):
            yield vars(module)
