"""How a source delivers events: the names of the columns, the separator of CSV files, the unit and the zone of times.

Must not know files, Spark, Delta, or how a row is read.
Source of the rules: R25 (names), R26 (time as delivered).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

TEXT = "text"
POWERS_OF_TEN = {"s": 6, "ms": 3, "us": 0, "ns": -3}
"""What makes microseconds of a number of each unit."""
TIMESTAMP_UNITS = (TEXT, *POWERS_OF_TEN)
UTC = "UTC"


@dataclass(frozen=True)
class InputFormat:
    """How the rows of a source become events; the defaults are the four names, commas, and text in UTC.

    Attributes:
        columns: for columns of an event the name of the delivered one; a column that is not named has its own name.
        constants: for columns of an event the text that each row has; no file needs to have them.
        csv_separator: between the fields of a `.csv` file; it is a tab in a `.tsv` file.
        timestamp_unit: one of `TIMESTAMP_UNITS`: text, or a number of these since 1970-01-01 UTC.
        time_zone: IANA name of the zone of times without an offset.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    csv_separator: str = ","
    timestamp_unit: str = TEXT
    time_zone: str = UTC

    def names(self, columns: Sequence[str]) -> dict[str, str]:
        """Return for each of these columns of an event, unless it is a constant, the name that is looked for."""
        return {column: self.columns.get(column, column) for column in columns if column not in self.constants}

    def with_separator_of(self, other: "InputFormat") -> "InputFormat":
        """Return this format with the separator of another: fields that were read stay what they are."""
        return replace(self, csv_separator=other.csv_separator)

    def as_json(self) -> str:
        """Return the format as text; equal formats have equal texts."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> "InputFormat":
        """Return the format of a text; None: by an edition that had only this one."""
        return cls(**json.loads(text)) if text else cls()


OWN_FORMAT = InputFormat()
"""The default: the names and times of the project's own words."""
