"""How S3 is reached, and what is said at once when it cannot be. The real store is in `test_s3`."""

import time

import dagster as dg
import pytest

from sessions_assets import storage
from sessions_assets.dagster.resources import LakeResource, SparkResource
from sessions_assets.definitions import build_definitions
from sessions_assets.settings import Settings
from sessions_assets.storage import LOCAL, Storage, StorageError
from sessions_assets_tests.answering import answering
from sessions_assets_tests.deployment import failure_of
from sessions_assets_tests.stack import free_port

MINIO = Storage("http://minio:9000", "eu-central-1")
ADDRESS = "s3://bucket/lake"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")


def refusal(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} it is</Message></Error>"


EMPTY = "<?xml version='1.0'?><ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>"


def test_a_folder_needs_nothing() -> None:
    assert (LOCAL.for_fsspec("/lake"), LOCAL.for_delta("/lake")) == ({}, {})
    LOCAL.check("/nowhere")


def test_all_three_libraries_are_told_the_same_place() -> None:
    fsspec, delta, spark = MINIO.for_fsspec(ADDRESS), MINIO.for_delta(ADDRESS), MINIO.for_spark()
    assert (fsspec["endpoint_url"], fsspec["client_kwargs"]) == ("http://minio:9000", {"region_name": "eu-central-1"})
    assert fsspec["config_kwargs"]["s3"] == {"addressing_style": "path"}
    assert (delta["aws_endpoint"], delta["aws_region"], delta["aws_allow_http"]) == (
        "http://minio:9000",
        "eu-central-1",
        "true",
    )
    assert {name.removeprefix("spark.hadoop.fs.s3a."): value for name, value in spark.items() if "fs.s3a" in name} == {
        "endpoint": "http://minio:9000",
        "endpoint.region": "eu-central-1",
        "path.style.access": "true",
        "connection.ssl.enabled": "false",
    }


def test_amazons_own_store_needs_no_endpoint() -> None:
    amazon = Storage()
    assert amazon.for_fsspec(ADDRESS)["endpoint_url"] is None
    assert "aws_endpoint" not in amazon.for_delta(ADDRESS)
    assert "spark.hadoop.fs.s3a.endpoint" not in amazon.for_spark()


@pytest.mark.usefixtures("keys")
def test_no_configuration_holds_a_key() -> None:
    """Each library reads the keys from the environment by itself."""
    spark = SparkResource(master="local[1]", spark_config=MINIO.for_spark())
    told = f"{MINIO.for_fsspec(ADDRESS)} {MINIO.for_delta(ADDRESS)} {spark} {LakeResource(root=ADDRESS)}"
    assert "the-key" not in told
    assert "the-secret" not in told


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("status", "code"), [(403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"), (404, "NoSuchBucket")]
)
def test_a_store_that_refuses_is_one_error_at_once(status: int, code: str) -> None:
    started = time.monotonic()
    with answering(lambda _: (status, refusal(code))) as endpoint, pytest.raises(StorageError) as raised:
        Storage(endpoint).check(ADDRESS)
    assert str(raised.value).startswith(f"{ADDRESS}: bucket bucket at endpoint {endpoint} cannot be used: ")
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("keys")
def test_a_store_that_does_not_answer_is_one_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a lake needs no Spark; the tests of real S3 wait as long as a user does."""
    monkeypatch.setattr(storage, "_PATIENCE_SECONDS", 2)
    endpoint = f"http://127.0.0.1:{free_port()}"
    lake = LakeResource(root=ADDRESS, endpoint=endpoint)
    started = time.monotonic()
    with pytest.raises(StorageError, match=f"bucket bucket at endpoint {endpoint} cannot be used"):
        lake.open()
    assert time.monotonic() - started < 15


def test_missing_keys_are_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with (
        answering(lambda _: (200, EMPTY)) as endpoint,
        pytest.raises(StorageError, match="Unable to locate credentials"),
    ):
        Storage(endpoint).check(ADDRESS)


@pytest.mark.usefixtures("keys")
def test_a_store_that_is_being_restarted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PATIENCE_SECONDS", 20)
    with answering(lambda _: (200, EMPTY), after=2) as endpoint:
        Storage(endpoint).check(ADDRESS)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("job", ["expire_raw", "compact_sessions", "rebuild_sessions", "check_sessions"])
def test_a_job_asks_the_store_before_it_starts_spark(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To start a JVM takes longer than to see that S3 does not answer."""
    monkeypatch.setattr(storage, "_PATIENCE_SECONDS", 0)
    endpoint = f"http://127.0.0.1:{free_port()}"
    definitions = build_definitions(Settings(lake=ADDRESS, s3_endpoint=endpoint))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
    assert f"endpoint {endpoint} cannot be used" in failure_of(result)
