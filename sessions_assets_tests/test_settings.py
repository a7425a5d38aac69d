"""The settings: every variable with its default, and one clear error for an invalid value."""

from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import pytest

from sessions_assets.lake.spark import java_options
from sessions_assets.settings import Settings, SettingsError
from sessions_assets_tests.pages import variables_read


def test_defaults_work_in_a_fresh_clone() -> None:
    assert Settings.from_environment({}) == Settings(
        landing="batches",
        lake="lake",
        first_day=date(2025, 3, 10),
        timeout=timedelta(seconds=300),
        user_actions=frozenset({"a", "b", "c"}),
        lateness_days=5,
        commit="rows",
        spark_master="local[*]",
    )


class Environment(dict[str, str]):
    """Environment variables that record which of them are read."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, variable: str, default: str = "") -> str:  # type: ignore[override]
        """Return the value of a variable, and record its name."""
        self.asked.add(variable)
        return super().get(variable, default)


def test_every_variable_is_read() -> None:
    """This test sets every variable that is read, and no setting keeps its default."""
    environment = Environment(
        {
            "SESSIONS_LANDING": "s3://bucket/in",
            "SESSIONS_LAKE": "/lake",
            "SESSIONS_COLUMNS": 'user_id = visitor , event_id="event, ""type""",product_code=\'it\'\'s\'',
            "SESSIONS_CSV_SEPARATOR": "tab",
            "SESSIONS_TIMESTAMP_UNIT": "ms",
            "SESSIONS_TIME_ZONE": "Europe/Berlin",
            "SESSIONS_FIRST_DAY": "2024-02-29",
            "SESSIONS_TIMEOUT_SECONDS": "1799.999999",
            "SESSIONS_TIMEOUTS": '{"IDE": 1800, "a, b": 299.999999}',
            "SESSIONS_USER_ACTIONS": "click, tap",
            "SESSIONS_CARRY": "url, user-agent",
            "SESSIONS_LATENESS_DAYS": "7",
            "SESSIONS_COMMIT": "merge",
            "SESSIONS_QUARANTINE_WARN_SHARE": "0.5",
            "SESSIONS_LATE_WARN_SHARE": "1",
            "SESSIONS_DURATION_WARN_HOURS": "8",
            "SESSIONS_DUE_HOUR": "23",
            "SPARK_MASTER": "spark://host:7077",
            "SPARK_DRIVER_MEMORY": "512m",
            "AWS_ENDPOINT_URL": "http://minio:9000/",
            "AWS_REGION": "eu-central-1",
        }
    )
    settings = Settings.from_environment(environment)
    assert environment.asked == environment.keys()
    assert [field.name for field in fields(Settings) if getattr(settings, field.name) == field.default] == []
    assert settings == Settings(
        landing="s3://bucket/in",
        lake="/lake",
        columns={"user_id": "visitor", "event_id": 'event, "type"'},
        constants={"product_code": "it's"},
        csv_separator="\t",
        timestamp_unit="ms",
        time_zone="Europe/Berlin",
        first_day=date(2024, 2, 29),
        timeout=timedelta(seconds=1799, microseconds=999_999),
        timeouts={"IDE": timedelta(minutes=30), "a, b": timedelta(seconds=299, microseconds=999_999)},
        user_actions=frozenset({"click", "tap"}),
        carry=("url", "user-agent"),
        lateness_days=7,
        commit="merge",
        quarantine_warn_share=0.5,
        late_warn_share=1.0,
        duration_warn_hours=8,
        due_hour=23,
        spark_master="spark://host:7077",
        driver_memory="512m",
        s3_endpoint="http://minio:9000",
        s3_region="eu-central-1",
    )


def test_a_star_makes_every_event_an_action() -> None:
    assert Settings.from_environment({"SESSIONS_USER_ACTIONS": "*"}).user_actions is None


def test_what_is_a_column_of_the_event_cannot_be_carried() -> None:
    environment = {"SESSIONS_COLUMNS": "user_id=Visitor", "SESSIONS_CARRY": "url,visitor"}
    with pytest.raises(
        SettingsError, match="SESSIONS_CARRY='url,visitor': expected names that SESSIONS_COLUMNS does not"
    ):
        Settings.from_environment(environment)


def test_a_column_of_its_own_name_is_not_renamed() -> None:
    settings = Settings.from_environment({"SESSIONS_COLUMNS": "user_id=user_id , timestamp=at"})
    assert (settings.columns, settings.constants) == ({"timestamp": "at"}, {})


@pytest.mark.parametrize(("value", "separator"), [(",", ","), (";", ";"), ("|", "|"), ("\\t", "\t"), ("tab", "\t")])
def test_a_separator_is_a_sign_or_the_name_of_a_tab(value: str, separator: str) -> None:
    assert Settings.from_environment({"SESSIONS_CSV_SEPARATOR": value}).csv_separator == separator


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000"),
        ("AWS_ENDPOINT_URL", "http://user:password@minio:9000"),
        ("SPARK_DRIVER_MEMORY", "2 GB"),
        ("SESSIONS_CSV_SEPARATOR", "comma"),
        ("SESSIONS_CSV_SEPARATOR", ",,"),
        ("SESSIONS_COLUMNS", "visitor"),
        ("SESSIONS_COLUMNS", "user_id="),
        ("SESSIONS_COLUMNS", "user_id=a,,event_id=b"),
        ("SESSIONS_COLUMNS", "user_id=it's"),
        ("SESSIONS_COLUMNS", "visitor=user_id"),
        ("SESSIONS_COLUMNS", "user_id=a,user_id=b"),
        ("SESSIONS_COLUMNS", "product_code='  ',user_id=a"),
        ("SESSIONS_COLUMNS", "timestamp='2025-03-10 10:00:00'"),
        ("SESSIONS_TIMESTAMP_UNIT", "milliseconds"),
        ("SESSIONS_TIME_ZONE", "Berlin"),
        ("SESSIONS_TIME_ZONE", "+01:00"),
        ("SESSIONS_TIME_ZONE", "localtime"),
        ("SESSIONS_CARRY", "url,"),
        ("SESSIONS_CARRY", "user agent"),
        ("SESSIONS_CARRY", "a=b"),
        ("SESSIONS_CARRY", "url,URL"),
        ("SESSIONS_CARRY", "Session_Id"),
        ("SESSIONS_CARRY", "_metadata"),
        ("SESSIONS_CARRY", "url,'x'"),
        ("SESSIONS_FIRST_DAY", "2025-02-30"),
        ("SESSIONS_FIRST_DAY", "20250310"),
        ("SESSIONS_TIMEOUT_SECONDS", "five"),
        ("SESSIONS_TIMEOUT_SECONDS", "0"),
        ("SESSIONS_TIMEOUT_SECONDS", "-1"),
        ("SESSIONS_TIMEOUT_SECONDS", "NaN"),
        ("SESSIONS_TIMEOUT_SECONDS", "Infinity"),
        ("SESSIONS_TIMEOUT_SECONDS", "0.0000001"),
        ("SESSIONS_TIMEOUT_SECONDS", "1e30"),
        ("SESSIONS_TIMEOUTS", "IDE=1800"),
        ("SESSIONS_TIMEOUTS", '["IDE", 1800]'),
        ("SESSIONS_TIMEOUTS", '{"IDE": true}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": {"seconds": 1800}}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": "long"}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": 0}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": NaN}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": 299.9999999}'),
        ("SESSIONS_TIMEOUTS", '{"IDE": 1800, "IDE": 300}'),
        ("SESSIONS_TIMEOUTS", '{" ": 1800}'),
        ("SESSIONS_USER_ACTIONS", "a,,b"),
        ("SESSIONS_USER_ACTIONS", "a,*"),
        ("SESSIONS_COMMIT", "MERGE"),
        ("SESSIONS_COMMIT", "rows,merge"),
        ("SESSIONS_LATENESS_DAYS", "-1"),
        ("SESSIONS_LATENESS_DAYS", "5.5"),
        ("SESSIONS_QUARANTINE_WARN_SHARE", "1.5"),
        ("SESSIONS_LATE_WARN_SHARE", "20%"),
        ("SESSIONS_DURATION_WARN_HOURS", "0"),
        ("SESSIONS_DURATION_WARN_HOURS", "1.5"),
        ("SESSIONS_DUE_HOUR", "24"),
    ],
)
def test_an_invalid_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}=.*: expected"):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("variable", sorted(variables_read()))
def test_quotes_that_an_env_file_leaves_are_named(variable: str, quote: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}=.*: expected a value without quotes around it$"):
        Settings.from_environment({variable: f"{quote}5{quote}"})


def test_quotes_around_one_action_are_named() -> None:
    """Inside an id a quote is part of it."""
    with pytest.raises(SettingsError, match=r"SESSIONS_USER_ACTIONS=.*: expected a value without quotes around it"):
        Settings.from_environment({"SESSIONS_USER_ACTIONS": "a, 'b'"})
    assert Settings.from_environment({"SESSIONS_USER_ACTIONS": "it's"}).user_actions == {"it's"}


def test_a_folder_may_be_given_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for both: of the lake Spark, delta-rs and Python would each make something else."""
    monkeypatch.setenv("HOME", "/home/me")
    settings = Settings.from_environment({"SESSIONS_LANDING": "~/in", "SESSIONS_LAKE": "~/lake"})
    assert (settings.landing, settings.lake) == ("/home/me/in", "/home/me/lake")
    assert Settings.from_environment({"SESSIONS_LAKE": "s3://bucket/~lake"}).lake == "s3://bucket/~lake"
    with pytest.raises(SettingsError, match="SESSIONS_LAKE='~nobody-of-this-name/lake': expected a folder of a user"):
        Settings.from_environment({"SESSIONS_LAKE": "~nobody-of-this-name/lake"})


def test_the_jvm_starts_from_the_archive_of_classes_if_there_is_one(tmp_path: Path) -> None:
    """Without an archive it starts with the same options otherwise: an archive only saves time."""
    assert java_options(tmp_path) == ["-Duser.timezone=UTC", "-XX:+UseParallelGC"]
    (tmp_path / "classes.jsa").touch()
    assert java_options(tmp_path)[2] == f'"-XX:SharedArchiveFile={tmp_path}/classes.jsa"'
