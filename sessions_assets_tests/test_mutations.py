"""Every known way of breaking the algorithm is noticed by a named case, a history or a check of stored rows."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import LakeError
from sessions_assets_tests.mutations import MUTATIONS, broken
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


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_fits_the_code(name: str) -> None:
    """The text that a mutation replaces occurs exactly once in its function, and the result compiles."""
    mutation = MUTATIONS[name]
    assert mutation.source.count(mutation.old) == 1
    compile(mutation.source.replace(mutation.old, mutation.new), mutation.name, "exec")


@pytest.mark.long
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_algorithm_is_noticed(
    name: str, spark: SparkSession, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    mutation = MUTATIONS[name]
    with broken(mutation):
        try:
            noticed = mutation.noticed_by(spark, tmp_path)
        except LakeError as error:  # a run that is refused has noticed it too
            noticed = [str(error)]
    print(f"{name}: {', '.join(noticed)}")  # noqa: T201 - for the report of the long tests
    record_property("noticed by", noticed)
    assert noticed
    assert mutation.check is None or mutation.check in noticed


@pytest.mark.long
@pytest.mark.parametrize(
    "check",
    [
        cases_of_the_rule,
        cases_of_deliveries,
        derived,
        histories,
        long_session,
        longer_timeout,
        odd_json,
        odd_parquet,
        violated,
        asset_checks,
    ],
)
def test_the_real_algorithm_passes(
    check: Callable[[SparkSession, Path], list[str]], spark: SparkSession, tmp_path: Path
) -> None:
    """What notices a broken algorithm finds nothing wrong with the real one."""
    assert check(spark, tmp_path) == []
