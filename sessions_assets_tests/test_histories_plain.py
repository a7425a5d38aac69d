"""R18 in plain Python: after any history the incremental model holds what the reference computes of all deliveries."""

from collections import Counter
from datetime import date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings

from sessions_assets_tests.broken_models import BROKEN_EXPIRIES, BROKEN_MODELS
from sessions_assets_tests.histories import (
    TIMEOUTS,
    TIMEOUTS_BY_PRODUCT,
    USER_ACTIONS,
    Apply,
    History,
    Land,
    current_deliveries,
    histories,
    pack,
    random_applies,
    random_history,
    random_steps,
)
from sessions_assets_tests.incremental_model import IncrementalModel, Stored
from sessions_assets_tests.reference import (
    Event,
    IdChange,
    Row,
    expected_id_changes,
    expected_table,
    expected_values,
    lost_ids,
    session_id,
    sessionize,
)

BULK = 3_000
RETENTION = timedelta(days=3)


def expected_ods(deliveries: dict[date, list[Event]], history: History) -> dict[Event, Stored]:
    """Return the rows that the reference computes, in the form of the model."""
    table = expected_table(deliveries, history.timeout, history.user_actions, history.timeouts)
    values = expected_values(deliveries)
    return {(e := Event(*row[:4])): Stored(row.first_updated_at, row.session_start, values[e]) for row in table}


def random_case(seed: int) -> History:
    """Return the random history of a seed."""
    rng = Random(seed)  # noqa: S311 - repeatable, not secret
    timeout = TIMEOUTS[seed % len(TIMEOUTS)]
    timeouts = TIMEOUTS_BY_PRODUCT[seed // len(TIMEOUTS) % len(TIMEOUTS_BY_PRODUCT)]
    rounds = random_history(rng, timeout, rounds=rng.randint(1, 4), timeouts=timeouts)
    return History(timeout, USER_ACTIONS if seed % 7 else None, random_steps(rng, rounds), timeouts)


def replay(history: History, model: IncrementalModel) -> str | None:
    """Play a history; return the first law that is broken, or None if all hold after every step."""
    for step in history.steps:
        if isinstance(step, Land):
            model.land(step.day, step.events)
            continue
        model.apply(step.days)
        starts = {event: row.session_start for event, row in model.ods.items()}
        if starts != sessionize(model.ods, history.timeout, history.user_actions, history.timeouts):
            return "R2: the stored rows obey the rule among themselves after every run, whatever is pending"
        if not model.pending and model.ods != expected_ods(model.raw, history):
            return "R18: when nothing is pending the table is the rule over all current deliveries"
        if model.apply(step.days):
            return "R19: the same run again writes nothing"
    return None


def table_with_retention_is_right(seed: int, model_type: type[IncrementalModel]) -> bool:
    """Return whether a history under a short retention ends in the rule over all accepted batches."""
    history = random_case(seed)
    model = model_type(history.timeout, history.user_actions, RETENTION, history.timeouts)
    accepted: dict[date, list[Event]] = {}
    for step in history.steps:
        if isinstance(step, Apply):
            model.apply([day for day in step.days if not model.is_closed(day)])
        elif not model.is_closed(step.day):
            model.land(step.day, step.events)
            accepted[step.day] = step.events
    for day in sorted(model.pending):
        model.apply([day])
    return model.ods == expected_ods(accepted, history)


def new_model(history: History) -> IncrementalModel:
    """Return an empty model with the configuration of a history."""
    return IncrementalModel(history.timeout, history.user_actions, timeouts=history.timeouts)


@settings(max_examples=400, deadline=None)
@given(histories())
def test_any_history_ends_in_the_rule_over_all_current_deliveries(history: History) -> None:
    assert replay(history, new_model(history)) is None


def test_thousands_of_random_histories_end_in_the_rule() -> None:
    broken = {seed: law for seed in range(BULK) if (law := replay(case := random_case(seed), new_model(case)))}
    assert broken == {}


def kinds_of_change(before: dict[Event, Stored], after: dict[Event, Stored]) -> set[str]:
    """Return the kinds of change between two states of the table."""
    kinds = {"a row is removed"} if before.keys() - after.keys() else set()
    for event in before.keys() & after.keys():
        (day, start, values), (new_day, new_start, new_values) = before[event], after[event]
        if day != new_day:
            kinds.add("an earlier first day" if new_day < day else "a later first day")
        if (day, start) == (new_day, new_start) and values != new_values:
            kinds.add("other values alone")
        if start != new_start:
            if start and new_start:
                kinds.add("a start moves left" if new_start < start else "a start moves right")
            else:
                kinds.add("an empty row gets a session" if new_start else "a row loses its session")
    longest = max(
        (e.timestamp - row.session_start for e, row in after.items() if row.session_start), default=timedelta()
    )
    return kinds | ({"a session longer than the lateness window"} if longest > timedelta(days=6) else set())


def test_random_histories_contain_every_kind_of_change_many_times() -> None:
    seen: Counter[str] = Counter()
    for history in map(random_case, range(400)):
        model = new_model(history)
        for step in history.steps:
            before = dict(model.ods)
            if isinstance(step, Land):
                model.land(step.day, step.events)
            else:
                model.apply(step.days)
            seen.update(kinds_of_change(before, model.ods))
    assert len(seen) == 9
    assert min(seen.values()) >= 20, seen


def test_the_order_of_the_days_changes_nothing() -> None:
    for seed in range(300):
        history = random_case(seed)
        results = []
        for order in range(3):
            rng = Random(order)  # noqa: S311 - repeatable, not secret
            model = new_model(history)
            for day, events in current_deliveries(history.steps).items():
                model.land(day, events)
            for step in random_applies(rng, model.raw):
                assert isinstance(step, Apply)
                model.apply(step.days)
            results.append(model.ods)
        assert results[0] == results[1] == results[2]


def test_packed_histories_are_independent() -> None:
    """Packed histories do not affect each other: the Spark tests rely on it."""
    rng = Random(0)  # noqa: S311 - repeatable, not secret
    timeout = TIMEOUTS[0]
    rounds = pack([random_history(rng, timeout) for _ in range(40)])
    history = History(timeout, USER_ACTIONS, random_steps(rng, rounds))
    model = new_model(history)
    assert replay(history, model) is None
    assert len({event.user_id.split("-")[0] for event in model.ods}) > 30


def test_a_day_that_never_landed_is_refused_and_nothing_is_written() -> None:
    model = IncrementalModel(TIMEOUTS[0], USER_ACTIONS)
    model.land(date(2025, 3, 18), [Event("1", "a", "I", datetime.fromisoformat("2025-03-18 10:00"))])
    with pytest.raises(LookupError, match="2025-03-19"):
        model.apply([date(2025, 3, 18), date(2025, 3, 19)])
    assert model.ods == {}


def test_an_expired_day_is_refused_and_its_rows_stay() -> None:
    model = IncrementalModel(TIMEOUTS[0], USER_ACTIONS, RETENTION)
    old, new = date(2025, 3, 14), date(2025, 3, 18)
    model.land(old, [Event("1", "a", "I", datetime.fromisoformat("2025-03-14 10:00"))])
    model.land(new, [])
    assert old in model.raw, "not applied yet"
    model.apply([old])
    assert old in model.raw, "nothing newer is applied yet"
    model.apply([new])
    assert set(model.raw) == {new}
    with pytest.raises(LookupError, match="2025-03-14"):
        model.land(old, [])
    with pytest.raises(LookupError, match="2025-03-14"):
        model.apply([old, new])
    assert len(model.ods) == 1


def test_a_short_retention_changes_no_result() -> None:
    """Expired raw rows are never needed, even if days are delivered long after they would have expired (R21)."""
    assert [seed for seed in range(BULK) if not table_with_retention_is_right(seed, IncrementalModel)] == []


@pytest.mark.parametrize("broken", BROKEN_MODELS)
def test_random_histories_catch_a_broken_algorithm(broken: type[IncrementalModel]) -> None:
    """The histories are able to fail: they find each known way of breaking the algorithm."""
    cases = map(random_case, range(BULK))
    assert any(replay(case, broken(case.timeout, case.user_actions, timeouts=case.timeouts)) for case in cases)


@pytest.mark.parametrize("broken", BROKEN_EXPIRIES)
def test_random_histories_catch_raw_days_that_expire_too_early(broken: type[IncrementalModel]) -> None:
    assert not all(table_with_retention_is_right(seed, broken) for seed in range(BULK))


@pytest.mark.long
def test_many_more_random_histories_end_in_the_rule(seed: int, number_of_histories: int) -> None:
    """From another seed each time; the report names it, and the number of a history that breaks a law."""
    cases = range(seed, seed + number_of_histories)
    broken = {number: law for number in cases if (law := replay(case := random_case(number), new_model(case)))}
    assert broken == {}
    assert [number for number in cases if not table_with_retention_is_right(number, IncrementalModel)] == []


def rows_of(model: IncrementalModel) -> list[Row]:
    """Return what the model stores, in the columns of the table."""
    return [
        Row(
            *event, model.is_action(event),
            row.session_start and session_id(event.user_id, event.product_code, row.session_start),
            row.session_start, row.first_updated_at, event.timestamp.date(),
        )
        for event, row in model.ods.items()
    ]  # fmt: skip


def ids_that_are_lost(history: History) -> list[str]:
    """Return the ids that do not lead to those that hold their rows at the end (R29)."""
    model = new_model(history)
    versions: list[list[Row]] = [[]]
    changes: list[tuple[int, IdChange]] = []
    for step in history.steps:
        if isinstance(step, Land):
            model.land(step.day, step.events)
            continue
        model.apply(step.days)
        versions.append(rows_of(model))
        moved = expected_id_changes(versions[-2], versions[-1])
        changes += [(len(versions) - 1, change) for change in moved]
    return lost_ids(dict(enumerate(versions)), changes)


def test_changes_of_ids_lead_from_each_id_to_that_of_today() -> None:
    """The definition of the changes itself, in thousands of histories."""
    assert {seed: lost for seed in range(2_000) if (lost := ids_that_are_lost(random_case(seed)))} == {}
