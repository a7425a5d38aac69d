"""Carried attributes: the values of an event that ods_sessions keeps beside its session, as one column to compare.

Columns in, columns out. Must not know Delta, paths, Dagster, or which event a value belongs to.
Source of the rules: R24.

Two columns of a row, whatever the names in the table, so that no name can be taken for one of the project's own:

| column  | meaning                                                                                              |
|---------|------------------------------------------------------------------------------------------------------|
| carried | the values of the carried names in their order; of two such lists the lesser is the first, NULL last |
| kept    | the values of the table's other columns: names that were carried once; NULL: a new row               |
"""

from collections.abc import Collection, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.types import StructType

from sessions_assets.rule.events import quoted
from sessions_assets.rule.session_rule import SESSION_COLUMNS

CARRIED, KEPT = "carried", "kept"
VALUE_COLUMNS = (CARRIED, KEPT)


def of_attributes(names: Sequence[str], columns: Collection[str]) -> Column:
    """Return the values of delivered rows, from MAP `attributes`; NULL where the rows have none."""
    return _listed([F.col("attributes").getItem(name) if "attributes" in columns else _null() for name in names])


def of_stored(columns: Sequence[str], names: Sequence[str]) -> list[Column]:
    """Return `VALUE_COLUMNS` of rows of ods_sessions, from the columns that the table has."""
    others = [name for name in columns if name not in {*SESSION_COLUMNS, *names}]
    carried = _listed([F.col(quoted(name)) if name in columns else _null() for name in names])
    kept = F.struct(*[F.col(quoted(name)) for name in others]) if others else F.lit(None)
    return [carried, kept.alias(KEPT)]


def as_columns(rows: DataFrame, names: Sequence[str]) -> dict[str, Column]:
    """Return the columns of the table, by their names, from `VALUE_COLUMNS`."""
    kept = rows.schema[KEPT].dataType
    others = kept.names if isinstance(kept, StructType) else []
    carried = {name: F.get(CARRIED, F.lit(position))["value"] for position, name in enumerate(names)}
    return carried | {name: F.col(KEPT).getField(name) for name in others}


def _null() -> Column:
    return F.lit(None).cast("string")


def _listed(values: Sequence[Column]) -> Column:
    pairs = [F.struct(value.isNull().alias("is_missing"), value.alias("value")) for value in values]
    return (F.array(*pairs) if pairs else F.lit(None)).alias(CARRIED)
