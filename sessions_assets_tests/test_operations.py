"""Any sequence of an operator's actions on one lake, in plain Python, ends in the rule over all deliveries (R18)."""

from datetime import date, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessions_assets_tests.histories import (
    CALENDAR,
    TIMEOUTS,
    TIMEOUTS_BY_PRODUCT,
    USER_ACTIONS,
    History,
    batches,
    populations,
)
from sessions_assets_tests.incremental_model import IncrementalModel
from sessions_assets_tests.reference import Event, Timeouts, sessionize
from sessions_assets_tests.test_histories_plain import expected_ods


class Operations(RuleBasedStateMachine):
    """What an operator does to one lake, in any order; after each action the table obeys the rule (R18, R19, R21)."""

    @initialize(timeout=st.sampled_from(TIMEOUTS), timeouts=st.sampled_from(TIMEOUTS_BY_PRODUCT), data=st.data())
    def start(self, timeout: timedelta, timeouts: Timeouts, data: st.DataObject) -> None:
        """Start with an empty lake and the events that batches are drawn from."""
        self.history = History(timeout, USER_ACTIONS, [], timeouts)
        self.model = IncrementalModel(timeout, USER_ACTIONS, timeouts=timeouts)
        self.population = data.draw(populations(timeout, timeouts))
        self.accepted: dict[date, list[Event]] = {}

    @rule(day=st.sampled_from(CALENDAR), data=st.data())
    def deliver(self, day: date, data: st.DataObject) -> None:
        """Land a batch, for the first time or again with other rows."""
        if not self.model.is_closed(day):
            batch = data.draw(batches(self.population, day))
            self.model.land(day, batch)
            self.accepted[day] = batch

    @rule(day=st.sampled_from(CALENDAR), data=st.data())
    def correct(self, day: date, data: st.DataObject) -> None:
        """Land a batch again without one of its rows."""
        if self.accepted.get(day) and not self.model.is_closed(day):
            gone = data.draw(st.sampled_from(self.accepted[day]))
            self.accepted[day] = [event for event in self.accepted[day] if event != gone]
            self.model.land(day, self.accepted[day])

    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """Apply some landed days in one run; the same run again writes nothing."""
        open_days = [day for day in sorted(self.model.raw) if not self.model.is_closed(day)]
        if open_days:
            days = data.draw(st.lists(st.sampled_from(open_days), min_size=1, max_size=4, unique=True))
            self.model.apply(days)
            assert self.model.merge([day for day in days if day in self.model.raw]) == 0

    @rule(retention=st.sampled_from([timedelta(days=1), timedelta(days=3), timedelta.max]))
    def expire(self, retention: timedelta) -> None:
        """Expire raw days under a shorter or longer retention."""
        self.model.retention = retention
        self.model.expire()

    @invariant()
    def the_stored_rows_obey_the_rule(self) -> None:
        """The stored rows agree with each other; with nothing pending, with all deliveries too."""
        if hasattr(self, "model"):
            starts = {event: row.session_start for event, row in self.model.ods.items()}
            assert starts == sessionize(self.model.ods, self.history.timeout, USER_ACTIONS, self.history.timeouts)
            if not self.model.pending:
                assert self.model.ods == expected_ods(self.accepted, self.history)

    def teardown(self) -> None:
        """Apply the pending days and compare with all deliveries."""
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
