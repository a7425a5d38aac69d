"""Histories of deliveries: dense events with gaps around T and near midnight, delivered late, again and corrected.

There are two sources of the same data: random histories from a seed, of which hundreds are packed into one Spark run,
and a Hypothesis strategy, which reduces a failing history to a small one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from random import Random
from typing import NamedTuple

from hypothesis import strategies as st

from sessions_assets_tests.reference import Event, Timeouts, Values, refusal, values_of, with_values

LATENESS_DAYS = 5
CALENDAR = tuple(date(2025, 3, 10) + timedelta(days=n) for n in range(9))
USER_ACTIONS = frozenset("abc")
MICROSECOND = timedelta(microseconds=1)
# The default; two with which a chain of a dozen actions is longer than the lateness window; one longer than a day.
TIMEOUTS = (timedelta(seconds=300), timedelta(hours=6), timedelta(hours=13), timedelta(hours=30))

# Products with another timeout: none; one of the two that the events have; both; one, and one that no event has.
NONE: Timeouts = {}
TIMEOUTS_BY_PRODUCT: tuple[Timeouts, ...] = (
    NONE,
    {"II": timedelta(hours=30)},
    {"I": timedelta(seconds=60), "II": timedelta(hours=13)},
    {"I": timedelta(hours=31), "none of them": timedelta(days=40)},
)

# Of two carried attributes, so that one row may be less than another by the first, or by the second only.
VALUES: tuple[Values, ...] = tuple((first, second) for first in (None, "m", "n") for second in ("y", None))

Deliveries = dict[date, list[Event]]
Rounds = list[Deliveries]


class Land(NamedTuple):
    """A batch of a day is landed, for the first time or again."""

    day: date
    events: list[Event]


class Apply(NamedTuple):
    """One run applies these days."""

    days: tuple[date, ...]


Step = Land | Apply


class History(NamedTuple):
    """A configuration and the steps taken under it; at the end every landed day is applied."""

    timeout: timedelta
    user_actions: frozenset[str] | None
    steps: list[Step]
    timeouts: Timeouts = NONE


def midnight(day: date) -> datetime:
    """Return the first instant of a day in UTC."""
    return datetime.combine(day, time.min)


def gaps(timeout: timedelta) -> list[timedelta]:
    """Return the gaps between events that matter: none, fifths of T, T, and a microsecond less or more than T."""
    fifth = timeout / 5
    return [0 * fifth, fifth, 3 * fifth, timeout - MICROSECOND, timeout, timeout + MICROSECOND, 2 * timeout]


def acceptable(events: Iterable[Event], arrival: date) -> list[Event]:
    """Return the events that a batch of this day may hold (R11)."""
    return [event for event in events if refusal(event.timestamp.date(), arrival, LATENESS_DAYS) is None]


def random_events(
    rng: Random, timeout: timedelta, calendar: Sequence[date] = CALENDAR, timeouts: Timeouts = NONE
) -> list[Event]:
    """Return a few sequences of events with gaps around T, each starting shortly before a midnight.

    Most of them share one key, so that they overlap; some are chains without a gap above T.
    """
    population: list[Event] = []
    for _ in range(rng.randint(1, 4)):
        user, product = rng.choices([("1", "I"), ("2", "I"), ("1", "II")], weights=[8, 2, 1])[0]
        own = timeouts.get(product, timeout)
        at = midnight(rng.choice(calendar)) - rng.randint(0, 6) * (own / 5)
        chain = rng.random() < 0.25
        for _ in range(14 if chain else rng.randint(2, 8)):
            population.append(Event(user, rng.choice("abc" if chain else "aabcxxy"), product, at))
            at += rng.choice(gaps(own)[1:5] if chain else gaps(own))
    return population


def random_batch(rng: Random, population: Iterable[Event], day: date, previous: Iterable[Event]) -> list[Event]:
    """Return a batch, or a correction of the previous one: rows removed, added or repeated, or no row at all."""
    if rng.random() < 0.08:
        return []
    kept = [event for event in previous if rng.random() < 0.7]
    share = rng.choice((0.1, 0.3, 0.7))
    added = [with_values(e, rng.choice(VALUES)) for e in acceptable(population, day) if rng.random() < share]
    batch = kept + added
    batch += [with_values(event, rng.choice(VALUES)) for event in batch if rng.random() < 0.1]
    rng.shuffle(batch)
    return batch


def random_history(
    rng: Random,
    timeout: timedelta,
    *,
    calendar: Sequence[date] = CALENDAR,
    rounds: int = 3,
    timeouts: Timeouts = NONE,
) -> Rounds:
    """Return rounds of deliveries over a calendar; each round after the first re-delivers some of the days.

    It also withdraws a few events: all days that hold them are delivered again without them.
    """
    population = random_events(rng, timeout, calendar, timeouts)
    current: Deliveries = {}
    history: Rounds = []
    for number in range(rounds):
        withdrawn = set(rng.sample(population, min(3, len(population)))) if number else set()
        left = [event for event in population if event not in withdrawn]
        delivered: Deliveries = {}
        for day in calendar:
            stay = [event for event in current.get(day, []) if event not in withdrawn]
            if rng.random() < (0.2 if number else 0.7):
                delivered[day] = random_batch(rng, left, day, stay)
            elif stay != current.get(day, []):
                delivered[day] = stay
        current |= delivered
        history.append(delivered)
    return history


def random_steps(rng: Random, rounds: Rounds) -> list[Step]:
    """Return steps that land the rounds, each in a random order, and apply the days in any order and grouping.

    Between two landings a run may apply any landed days: one, several, some again, or not the new ones.
    """
    steps: list[Step] = []
    landed: set[date] = set()
    pending: set[date] = set()
    for number, deliveries in enumerate(rounds, start=1):
        for day, events in rng.sample(list(deliveries.items()), len(deliveries)):
            steps.append(Land(day, events))
            landed.add(day)
            pending.add(day)
            if rng.random() < 0.4:
                days = rng.sample(sorted(landed), rng.randint(1, min(3, len(landed))))
                steps.append(Apply(tuple(days)))
                pending -= set(days)
        if number == len(rounds) or rng.random() < 0.6:
            steps += random_applies(rng, pending)
            pending = set()
    return steps


def random_applies(rng: Random, days: Iterable[date]) -> list[Step]:
    """Return runs that apply all these days, in a random order, one or several in a run."""
    left = sorted(days)
    rng.shuffle(left)
    steps: list[Step] = []
    while left:
        size = rng.choice((1, 1, 2, len(left)))
        steps.append(Apply(tuple(left[:size])))
        left = left[size:]
    return steps


def with_user_prefix(rounds: Rounds, prefix: str) -> Rounds:
    """Return a history with other users, so that it can share a table with other histories (R7)."""
    return [
        {
            day: [with_values(e._replace(user_id=f"{prefix}{e.user_id}"), values_of(e)) for e in events]
            for day, events in deliveries.items()
        }
        for deliveries in rounds
    ]


def pack(histories: Sequence[Rounds]) -> Rounds:
    """Return several histories as one, each under its own user prefix; all must have the same number of rounds.

    A day that one history re-delivers is landed for all of them: the others deliver the same rows again.
    """
    current: list[Deliveries] = [{} for _ in histories]
    prefixed = [with_user_prefix(rounds, f"h{number}-") for number, rounds in enumerate(histories)]
    packed: Rounds = []
    for deliveries in zip(*prefixed, strict=True):
        for own, delivered in zip(current, deliveries, strict=True):
            own.update(delivered)
        days = sorted({day for delivered in deliveries for day in delivered})
        packed.append({day: [event for own in current for event in own.get(day, [])] for day in days})
    return packed


def current_deliveries(steps: Iterable[Step]) -> Mapping[date, list[Event]]:
    """Return the current delivery of each day after these steps: its last one (R17)."""
    return {step.day: step.events for step in steps if isinstance(step, Land)}


@st.composite
def populations(draw: st.DrawFn, timeout: timedelta, timeouts: Timeouts = NONE) -> list[Event]:
    """Draw one sequence of events with gaps around T that starts shortly before a midnight, of up to three keys."""
    at = midnight(draw(st.sampled_from(CALENDAR))) - draw(st.integers(0, 6)) * (timeout / 5)
    population: list[Event] = []
    for _ in range(draw(st.integers(1, 12))):
        user, product = draw(st.sampled_from([("1", "I"), ("1", "I"), ("1", "I"), ("2", "I"), ("1", "II")]))
        population.append(Event(user, draw(st.sampled_from("abcxy")), product, at))
        at += draw(st.sampled_from(gaps(timeouts.get(product, timeout))))
    return population


def batches(population: Iterable[Event], day: date) -> st.SearchStrategy[list[Event]]:
    """Draw a batch of this day: events that it may hold, with any values."""
    if not (possible := acceptable(population, day)):
        return st.just([])
    rows = st.builds(with_values, st.sampled_from(possible), st.sampled_from(VALUES))
    return st.lists(rows, max_size=8)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a history: landings and runs in any order, then runs that apply the pending days."""
    timeout = draw(st.sampled_from(TIMEOUTS))
    timeouts = draw(st.sampled_from(TIMEOUTS_BY_PRODUCT))
    population = draw(populations(timeout, timeouts))
    steps: list[Step] = []
    landed: set[date] = set()
    pending: set[date] = set()
    for _ in range(draw(st.integers(1, 10))):
        run: bool = draw(st.booleans())
        if landed and run:
            days = draw(st.lists(st.sampled_from(sorted(landed)), min_size=1, max_size=3, unique=True))
            steps.append(Apply(tuple(days)))
            pending -= set(days)
        else:
            day = draw(st.sampled_from(CALENDAR))
            steps.append(Land(day, draw(batches(population, day))))
            landed.add(day)
            pending.add(day)
    steps += [Apply((day,)) for day in draw(st.permutations(sorted(pending)))]
    return History(timeout, draw(st.sampled_from([USER_ACTIONS, None])), steps, timeouts)
