"""The known ways of breaking the algorithm, done to the real code: each is noticed by a named case or a history.

A mutation takes one function or method, replaces a text of it, and puts the result in the place of the original
wherever the package or its tests hold it.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from types import FunctionType
from typing import Any, NamedTuple

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake import commits
from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.pipeline import apply as apply_module
from sessions_assets.pipeline.apply import apply
from sessions_assets.rule import changes, sessions
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import all_sessions
from sessions_assets_tests import test_incremental, test_rule
from sessions_assets_tests.tables import day, frame, session_rows, stored_rows
from sessions_assets_tests.test_histories import Comparison, in_halves, play

pytestmark = pytest.mark.long


def cases_of_the_rule(spark: SparkSession, folder: Path) -> list[str]:
    """Name the cases of whole sets that come out wrong."""
    del folder
    rows = [(row._replace(user_id=name), day(2)) for name, (found, _) in test_rule.CASES.items() for row in found]
    table = session_rows(all_sessions(frame(spark, rows), SessionRule()))
    wrong = []
    for name, (_, expected) in test_rule.CASES.items():
        found = sorted((row for row in table if row.user_id == name), key=lambda row: (row.timestamp, row.event_id))
        if [row.session_start and row.session_start.time().isoformat() for row in found] != expected:
            wrong.append(name)
    return wrong


def cases_of_deliveries(spark: SparkSession, folder: Path) -> list[str]:
    """Name the cases of late and repeated deliveries that come out wrong."""
    lake = Lake(spark, str(folder / "lake"))
    wrong: dict[str, None] = {}
    for run, number in enumerate(test_incremental.SCRIPT):
        test_incremental.deliver(lake, folder / "landing", day(number), test_incremental.batch(run))
        apply(lake, [day(number)], SessionRule())
        table = stored_rows(lake)
        for name, (_, expected) in test_incremental.CASES.items():
            found = test_incremental.written_out([row for row in table if row.user_id == name])
            if expected.get(run, found) != found:
                wrong[name] = None
        if wrong:
            break
    return list(wrong)


def histories(spark: SparkSession, folder: Path) -> list[str]:
    """Say whether packed histories end in other rows than the model's, or write more of them."""
    comparison = Comparison(Lake(spark, str(folder / "lake")), folder / "landing", timedelta(hours=6))
    try:
        play(comparison, Random(1), 60, in_halves)  # noqa: S311 - repeatable, not secret
    except AssertionError:
        return ["packed histories"]
    return []


def long_session(spark: SparkSession, folder: Path) -> list[str]:
    """Say whether a session whose last action lies a whole T back is lost."""
    try:
        test_incremental.test_session_longer_than_the_window_keeps_its_id(Lake(spark, str(folder / "lake")), folder)
    except AssertionError:
        return ["session longer than the window keeps its id"]
    return []


class Mutation(NamedTuple):
    """What is broken: the owner and the name of a function, a text of it, what stands there instead; who notices."""

    owner: Any
    name: str
    old: str
    new: str
    noticed_by: Callable[[SparkSession, Path], list[str]]


MUTATIONS = {
    "gap over all events": Mutation(
        sessions, "previous_action", 'F.col("is_user_action") & F.col("arrival")', 'F.col("arrival")',
        cases_of_the_rule,
    ),
    "the arrival of another day is not seen": Mutation(
        sessions, "_one_row_per_event", 'F.least("arrival", next_arrival)', 'F.col("arrival")', cases_of_deliveries
    ),
    ">= at T starts a session": Mutation(
        sessions, "with_session_start", "gap > rule.microseconds", "gap >= rule.microseconds", cases_of_the_rule
    ),
    "< at T leaves a native outside": Mutation(
        sessions, "with_session_start", "gap <= rule.microseconds", "gap < rule.microseconds", cases_of_the_rule
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
    "right edge closed at D": Mutation(
        apply_module, "_changes", "sessions_in_reach(first_date, run.version)",
        'sessions_in_reach(first_date, run.version).where(F.col("pdate") <= min(days))', cases_of_deliveries,
    ),
    "no seed": Mutation(
        changes, "_stored_context", "can_change | seeds_a_session", "can_change", cases_of_deliveries
    ),
    "the seed loses its session": Mutation(
        sessions, "with_session_start", 'F.col("stored_session_start")).when(', 'F.col("timestamp")).when(', histories
    ),
    "prune bound without T": Mutation(
        apply_module, "_changes", " - rule.timeout", "", long_session
    ),
    "what is replaced stays": Mutation(
        commits, "commit_rows", "where(change != INSERT)", "where(change == DELETE)", cases_of_deliveries
    ),
    "update guard without NULL-safety": Mutation(
        changes, "_change", '.eqNullSafe(F.col("stored_session_start"))', '.__eq__(F.col("stored_session_start"))',
        cases_of_deliveries,
    ),
    "rows are written that do not change": Mutation(
        changes, "_change", ".when(differs, F.lit(UPDATE))", ".otherwise(F.lit(UPDATE))", histories
    ),
    "what vanished is not looked for elsewhere": Mutation(
        apply_module, "_changes", "batch.unionByName(held_elsewhere(stored_of_days, batch, other_raw))", "batch",
        cases_of_deliveries,
    ),
    "what a day brought stays though it vanished": Mutation(
        changes, "_stored_context", 'F.when(~is_of_days, F.col("first_updated_at"))',
        'F.col("first_updated_at")', cases_of_deliveries,
    ),
    "since of the batch alone": Mutation(
        apply_module, "_changes", "since = earliest_changes(touched)", "since = earliest_changes(batch)",
        cases_of_deliveries,
    ),
}  # fmt: skip


def holders(original: object) -> Iterator[dict[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.startswith("sessions_assets") and any(value is original for value in vars(module).values()):
            yield vars(module)


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """Put the broken function in the place of the original, for as long as the context lasts."""
    original: FunctionType = getattr(mutation.owner, mutation.name)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(mutation.old) == 1, f"{mutation.name} has changed: mend the mutation"
    namespace: dict[str, Any] = {}
    exec(source.replace(mutation.old, mutation.new), original.__globals__, namespace)  # noqa: S102 - our own code
    places = [(names, name) for names in holders(original) for name, value in names.items() if value is original]
    for names, name in places:
        names[name] = namespace[mutation.name]
    try:
        yield
    finally:
        for names, name in places:
            names[name] = original


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_algorithm_is_noticed(
    name: str, spark: SparkSession, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with broken(MUTATIONS[name]):
        try:
            noticed = MUTATIONS[name].noticed_by(spark, tmp_path)
        except LakeError as error:  # a run that refuses to go on has noticed too
            noticed = [str(error)]
    print(f"{name}: {', '.join(noticed)}")  # noqa: T201 - for the report of the long tests
    record_property("noticed by", noticed)
    assert noticed


@pytest.mark.parametrize("check", [cases_of_the_rule, cases_of_deliveries, histories, long_session])
def test_the_whole_algorithm_is_not_blamed(
    check: Callable[[SparkSession, Path], list[str]], spark: SparkSession, tmp_path: Path
) -> None:
    """What notices a broken algorithm is content with the real one."""
    assert check(spark, tmp_path) == []
