"""The session rule as configuration: timeouts, user actions, carried attributes, and the columns of a session row.

Must not know how sessions are computed, Delta, paths or Dagster.
Source of the rules: R2, R3 (timeout), R22 (a table records the rule it was built with), R24, R27.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import IDENTITY_COLUMNS

SESSION_TIMEOUT = timedelta(seconds=300)
"""T: two consecutive user actions further apart belong to different sessions (R2, R3)."""

USER_ACTIONS = frozenset({"a", "b", "c"})

_BY_PRODUCT = "sessions.timeoutMicrosecondsByProduct"

# The columns of the table ods_sessions, in its order.
SESSION_COLUMNS = (
    *IDENTITY_COLUMNS,
    "is_user_action",
    "session_id",
    "session_start",
    "first_updated_at",
    "pdate",
)


@dataclass(frozen=True)
class SessionRule:
    """The configuration that decides every session, and what else its rows hold.

    Attributes:
        timeout: T, to the microsecond; positive.
        user_actions: the ids of user actions; None makes every event one.
        timeouts: T of the products that have another one (R27).
        carried: names of the attributes that ods_sessions has as columns (R24). They decide no session, so they are
            not part of what a table was built with (R22).
    """

    timeout: timedelta = SESSION_TIMEOUT
    user_actions: frozenset[str] | None = USER_ACTIONS
    timeouts: Mapping[str, timedelta] = field(default_factory=dict)
    carried: tuple[str, ...] = ()

    @property
    def longest_timeout(self) -> timedelta:
        """Return the greatest T: what is further apart is in different sessions, whatever the product (R27)."""
        return max([self.timeout, *self.timeouts.values()])

    def microseconds(self) -> Column:
        """Return T of the row's product, in microseconds (R6, R27)."""
        default = F.lit(_microseconds(self.timeout)).cast("bigint")
        if not self.timeouts:
            return default
        pairs = [part for product, other in self._exceptions().items() for part in (F.lit(product), F.lit(other))]
        other = F.create_map(*pairs).cast("map<string, bigint>")[F.col("product_code")]
        return F.coalesce(other, default)

    def _exceptions(self) -> dict[str, int]:
        return {product: _microseconds(timeout) for product, timeout in sorted(self.timeouts.items())}

    def is_user_action(self) -> Column:
        """Return whether the row's `event_id` is one of the user actions."""
        if self.user_actions is None:
            return F.lit(True)
        return F.col("event_id").isin(sorted(self.user_actions))

    def as_properties(self) -> dict[str, str]:
        """Return the rule as the table properties that record what a table was built with (R22)."""
        actions = "*" if self.user_actions is None else json.dumps(sorted(self.user_actions))
        return {
            "sessions.timeoutMicroseconds": str(_microseconds(self.timeout)),
            _BY_PRODUCT: json.dumps(self._exceptions(), ensure_ascii=False),
            "sessions.userActions": actions,
        }

    def differing_properties(self, stored: Mapping[str, str]) -> dict[str, str | None]:
        """Return the properties of a table in which it was built with another rule, as they are stored (R22)."""
        # A table of an edition without this one has no exceptions.
        found = {_BY_PRODUCT: "{}", **stored}
        return {name: found.get(name) for name, value in self.as_properties().items() if found.get(name) != value}


def _microseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1)
