"""R18 in plain Python: after any history the incremental algorithm and the rule over everything agree."""

from collections import Counter
from collections.abc import Collection
from datetime import date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessions_assets_tests.histories import (
    CALENDAR,
    TIMEOUTS,
    USER_ACTIONS,
    Apply,
    History,
    Land,
    acceptable,
    current_deliveries,
    histories,
    pack,
    populations,
    random_applies,
    random_history,
    random_steps,
)
from sessions_assets_tests.incremental_model import IncrementalModel, Key, Stored
from sessions_assets_tests.reference import Event, expected_table, sessionize

BULK = 3_000
RETENTION = timedelta(days=3)


def expected_ods(deliveries: dict[date, list[Event]], history: History) -> dict[Event, Stored]:
    """Give the table that the rule demands, in the shape of the model's."""
    table = expected_table(deliveries, history.timeout, history.user_actions)
    return {Event(*row[:4]): Stored(row.first_updated_at, row.session_start) for row in table}


def random_case(seed: int) -> History:
    """Make the random history of a seed."""
    rng = Random(seed)  # noqa: S311 (a repeatable test, no secret)
    timeout = TIMEOUTS[seed % len(TIMEOUTS)]
    rounds = random_history(rng, timeout, rounds=rng.randint(1, 4))
    return History(timeout, USER_ACTIONS if seed % 7 else None, random_steps(rng, rounds))


def replay(history: History, model: IncrementalModel) -> str | None:
    """Play a history; name the first law that is broken, or None if all of them hold all the way."""
    for step in history.steps:
        if isinstance(step, Land):
            model.land(step.day, step.events)
            continue
        model.apply(step.days)
        starts = {event: row.session_start for event, row in model.ods.items()}
        if starts != sessionize(model.ods, history.timeout, history.user_actions):
            return "R2: the stored rows obey the rule among themselves after every run, whatever is pending"
        if not model.pending and model.ods != expected_ods(model.raw, history):
            return "R18: when nothing is pending the table is the rule over all current deliveries"
        if model.apply(step.days):
            return "R19: the same run again writes nothing"
    return None


def table_with_retention_is_right(seed: int, model_type: type[IncrementalModel]) -> bool:
    """Play a history with a short retention, leaving out what is refused; compare with what was accepted."""
    history = random_case(seed)
    model = model_type(history.timeout, history.user_actions, RETENTION)
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
    """Start an empty table under a history's configuration."""
    return IncrementalModel(history.timeout, history.user_actions)


@settings(max_examples=400, deadline=None)
@given(histories())
def test_any_history_ends_in_the_rule_over_all_current_deliveries(history: History) -> None:
    assert replay(history, new_model(history)) is None


def test_thousands_of_random_histories_end_in_the_rule() -> None:
    broken = {seed: law for seed in range(BULK) if (law := replay(case := random_case(seed), new_model(case)))}
    assert broken == {}


def kinds_of_change(before: dict[Event, Stored], after: dict[Event, Stored]) -> set[str]:
    """Name the kinds of change between two states of the table."""
    kinds = {"a row leaves"} if before.keys() - after.keys() else set()
    for event in before.keys() & after.keys():
        (day, start), (new_day, new_start) = before[event], after[event]
        if day != new_day:
            kinds.add("the first day moves back" if new_day < day else "another day takes over")
        if start != new_start:
            if start and new_start:
                kinds.add("a start moves left" if new_start < start else "a start moves right")
            else:
                kinds.add("an empty row gets a session" if new_start else "a row loses its session")
    longest = max(
        (e.timestamp - row.session_start for e, row in after.items() if row.session_start), default=timedelta()
    )
    return kinds | ({"a session outlasts the lateness window"} if longest > timedelta(days=6) else set())


def test_random_histories_hold_every_kind_of_trouble_many_times() -> None:
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
    assert len(seen) == 8
    assert min(seen.values()) >= 20, seen


def test_the_order_of_the_days_changes_nothing() -> None:
    for seed in range(300):
        history = random_case(seed)
        results = []
        for order in range(3):
            rng = Random(order)  # noqa: S311 (a repeatable test, no secret)
            model = new_model(history)
            for day, events in current_deliveries(history.steps).items():
                model.land(day, events)
            for step in random_applies(rng, model.raw):
                assert isinstance(step, Apply)
                model.apply(step.days)
            results.append(model.ods)
        assert results[0] == results[1] == results[2]


def test_packed_histories_keep_apart() -> None:
    """A packed run is as good as each history alone: what a Spark test relies on."""
    rng = Random(0)  # noqa: S311 (a repeatable test, no secret)
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
    """R21: what leaves the raw table is never missed, even if days arrive long after they expired."""
    assert [seed for seed in range(BULK) if not table_with_retention_is_right(seed, IncrementalModel)] == []


class GapOverAllEvents(IncrementalModel):
    """Counts the timeout from the previous event of any kind, as the original does (against R4)."""

    def advances(self, event: Event) -> bool:  # noqa: ARG002 (an override)
        """Let every event prolong a session."""
        return True


class NoSeed(IncrementalModel):
    """Forgets the session that was open before the earliest change (against R14)."""

    def seed(self, key: Key, since: datetime) -> list[Event]:  # noqa: ARG002 (an override)
        """Read nothing."""
        return []


class HalfOpenTimeout(IncrementalModel):
    """Starts a session at exactly T (against R3)."""

    def within(self, last: datetime, at: datetime) -> bool:
        """Leave the boundary out."""
        return at - last < self.timeout


class WholeSeconds(IncrementalModel):
    """Truncates to seconds (against R6)."""

    def within(self, last: datetime, at: datetime) -> bool:
        """Lose the microseconds."""
        return at.replace(microsecond=0) - last.replace(microsecond=0) <= self.timeout


class NativeFirst(IncrementalModel):
    """Puts the native event before the action of the same instant (against R5)."""

    def order(self, event: Event) -> tuple[datetime, bool, str]:
        """Turn the tie round."""
        return event.timestamp, self.is_action(event), event.event_id


class ClosedRightEdge(IncrementalModel):
    """Reads stored rows only up to the last date of what changed (against R14)."""

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:
        """Cut off what comes after the batch."""
        last_date = max(event.timestamp for event in changed).date()
        return [event for event in super().context(key, since, changed) if event.timestamp.date() <= last_date]


class SeedOfTheDayBefore(IncrementalModel):
    """Takes it for granted that T is shorter than a day and prunes by that (against R14)."""

    def seed(self, key: Key, since: datetime) -> list[Event]:
        """Read the date of the change and the one before it only."""
        earliest = since.date() - timedelta(days=1)
        return [event for event in super().seed(key, since) if event.timestamp.date() >= earliest]


class NoHolders(IncrementalModel):
    """Removes what vanished from a day though another day holds it (against R17)."""

    def holders(self, vanished: set[Event], days: Collection[date]) -> list[tuple[Event, date]]:  # noqa: ARG002 (an override)
        """Look nowhere else."""
        return []


class NothingVanishes(IncrementalModel):
    """Keeps what a re-delivery left out (against R17)."""

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """Count the stored day always."""
        return super().arrivals(event, incoming, days) or [self.ods[event].first_updated_at]


class LatestArrivalWins(IncrementalModel):
    """Takes the day of the batch for the first day (against R1)."""

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """Forget the stored day if there is a new one."""
        return super().arrivals(event, incoming, days)[:1]


class SinceOfTheBatchAlone(IncrementalModel):
    """Reads from the earliest delivered event on, and misses an earlier one that vanished (against R14)."""

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:
        """Start at the first event that some raw partition holds."""
        held = {event for events in self.raw.values() for event in events}
        since = min((event.timestamp for event in changed if event in held), default=since)
        return super().context(key, since, changed)


class NullBlindGuard(IncrementalModel):
    """Compares with SQL's `<>`, which is never true for NULL (against R19 and R16)."""

    def differs(self, stored: Stored, fresh: Stored) -> bool:
        """Overlook a change from or to no session."""
        both = stored.session_start is not None and fresh.session_start is not None
        moved = both and stored.session_start != fresh.session_start
        return moved or stored.first_updated_at != fresh.first_updated_at


class ExpiresOutOfOrder(IncrementalModel):
    """Drops every closed day, though an older one is still pending (against R21)."""

    def may_leave(self, day: date) -> bool:  # noqa: ARG002 (an override)
        """Look at no other day."""
        return True


class ForgetsThatDaysExpired(IncrementalModel):
    """Takes an old day again that was applied after newer ones had expired (against R21)."""

    def is_closed(self, day: date) -> bool:
        """Close only what is gone itself."""
        return super().is_closed(day) and day not in self.raw


class RewritesEverything(IncrementalModel):
    """Writes what it read, changed or not (against R19)."""

    def differs(self, stored: Stored, fresh: Stored) -> bool:  # noqa: ARG002 (an override)
        """See a change everywhere."""
        return True


@pytest.mark.parametrize(
    "broken",
    [
        GapOverAllEvents,
        NoSeed,
        HalfOpenTimeout,
        WholeSeconds,
        NativeFirst,
        ClosedRightEdge,
        SeedOfTheDayBefore,
        NoHolders,
        NothingVanishes,
        LatestArrivalWins,
        SinceOfTheBatchAlone,
        NullBlindGuard,
        RewritesEverything,
    ],
)
def test_random_histories_catch_a_broken_algorithm(broken: type[IncrementalModel]) -> None:
    """A test that cannot fail proves nothing: each known way of breaking the algorithm is found."""
    cases = map(random_case, range(BULK))
    assert any(replay(case, broken(case.timeout, case.user_actions)) for case in cases)


@pytest.mark.parametrize("broken", [ExpiresOutOfOrder, ForgetsThatDaysExpired])
def test_random_histories_catch_raw_days_that_leave_too_early(broken: type[IncrementalModel]) -> None:
    assert not all(table_with_retention_is_right(seed, broken) for seed in range(BULK))


@pytest.mark.long
def test_many_more_random_histories_end_in_the_rule(seed: int, number_of_histories: int) -> None:
    """Other ones each time; the report names the seed, and the number of a history that breaks a law."""
    cases = range(seed, seed + number_of_histories)
    broken = {number: law for number in cases if (law := replay(case := random_case(number), new_model(case)))}
    assert broken == {}
    assert [number for number in cases if not table_with_retention_is_right(number, IncrementalModel)] == []


class Operations(RuleBasedStateMachine):
    """What an operator does to one lake, in any order; after each the table obeys the rule (R18, R19, R21)."""

    @initialize(timeout=st.sampled_from(TIMEOUTS), data=st.data())
    def start(self, timeout: timedelta, data: st.DataObject) -> None:
        """Begin with an empty lake and a population of events that batches are made of."""
        self.history = History(timeout, USER_ACTIONS, [])
        self.model = IncrementalModel(timeout, USER_ACTIONS)
        self.population = data.draw(populations(timeout))
        self.accepted: dict[date, list[Event]] = {}

    @rule(day=st.sampled_from(CALENDAR), data=st.data())
    def deliver(self, day: date, data: st.DataObject) -> None:
        """A batch comes, or comes again with other rows."""
        if not self.model.is_closed(day):
            possible = acceptable(self.population, day)
            batch = data.draw(st.lists(st.sampled_from(possible), max_size=8)) if possible else []
            self.model.land(day, batch)
            self.accepted[day] = batch

    @rule(day=st.sampled_from(CALENDAR), data=st.data())
    def correct(self, day: date, data: st.DataObject) -> None:
        """A batch comes again without one of its rows."""
        if self.accepted.get(day) and not self.model.is_closed(day):
            gone = data.draw(st.sampled_from(self.accepted[day]))
            self.accepted[day] = [event for event in self.accepted[day] if event != gone]
            self.model.land(day, self.accepted[day])

    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """A run applies some landed days, in one go; the same run again writes nothing."""
        open_days = [day for day in sorted(self.model.raw) if not self.model.is_closed(day)]
        if open_days:
            days = data.draw(st.lists(st.sampled_from(open_days), min_size=1, max_size=4, unique=True))
            self.model.apply(days)
            assert self.model.merge([day for day in days if day in self.model.raw]) == 0

    @rule(retention=st.sampled_from([timedelta(days=1), timedelta(days=3), timedelta.max]))
    def expire(self, retention: timedelta) -> None:
        """Raw days leave, or the retention is made longer."""
        self.model.retention = retention
        self.model.expire()

    @invariant()
    def the_stored_rows_obey_the_rule(self) -> None:
        """Among themselves, whatever is pending; and in all when nothing is."""
        if hasattr(self, "model"):
            starts = {event: row.session_start for event, row in self.model.ods.items()}
            assert starts == sessionize(self.model.ods, self.history.timeout, USER_ACTIONS)
            if not self.model.pending:
                assert self.model.ods == expected_ods(self.accepted, self.history)

    def teardown(self) -> None:
        """Apply what is left."""
        if hasattr(self, "model"):
            for day in sorted(self.model.pending):
                self.model.apply([day])
            assert self.model.ods == expected_ods(self.accepted, self.history)


def test_any_operations_end_in_the_rule() -> None:
    run_state_machine_as_test(Operations, settings=settings(max_examples=100, stateful_step_count=20, deadline=None))


@pytest.mark.long
def test_many_operations_end_in_the_rule(number_of_histories: int) -> None:
    many = settings(max_examples=number_of_histories // 10, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(Operations, settings=many)
