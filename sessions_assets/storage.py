"""How fsspec, delta-rs and Spark reach a folder or Amazon S3, and a check that S3 answers.

Must not know Dagster, the environment, or what is stored there. No configuration holds a secret: each library reads
the usual AWS variables by itself.
"""

import time
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs

S3_SCHEME = "s3://"
DEFAULT_REGION = "us-east-1"
# How long a store that is being restarted is waited for; with the last try the error comes within half a minute.
_PATIENCE_SECONDS = 15
# A request without an answer is repeated with growing pauses, for about a minute.
_TRIES = 8


class StorageError(Exception):
    """S3 cannot be used. Names the address, the endpoint and the cause."""


@dataclass(frozen=True)
class Storage:
    """The S3 store of addresses that begin with `s3://`; a folder needs none of it.

    Attributes:
        endpoint: URL of a store that is not Amazon's, such as `http://minio:9000`; None: Amazon's own.
        region: for which requests are signed.
    """

    endpoint: str | None = None
    region: str = DEFAULT_REGION

    def for_fsspec(self, address: str, tries: int = _TRIES) -> dict[str, Any]:
        """Return the options for fsspec's file system of an address."""
        if not address.startswith(S3_SCHEME):
            return {}
        settings = {
            "connect_timeout": 5,
            "read_timeout": 30,
            "retries": {"total_max_attempts": tries, "mode": "standard"},
            # Other stores address buckets by path, and not all of them support the newest checksums.
            "s3": {"addressing_style": "path" if self.endpoint else "auto"},
            "request_checksum_calculation": "when_required",
        }
        return {
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": settings,
        }

    def for_delta(self, address: str) -> dict[str, str]:
        """Return the options for delta-rs to open a table; a commit is a PUT that fails if the object exists."""
        if not address.startswith(S3_SCHEME):
            return {}
        options = {"aws_region": self.region, "aws_conditional_put": "etag", "connect_timeout": "5s"}
        if self.endpoint:
            plain = str(self.endpoint.startswith("http://")).lower()
            options |= {"aws_endpoint": self.endpoint, "aws_allow_http": plain}
            options["aws_virtual_hosted_style_request"] = "false"
        return options

    def for_spark(self) -> dict[str, str]:
        """Return the Spark settings to read and write addresses that begin with `s3://`, through S3A.

        Delta's log is written by the project's own log store (jars/s3): each entry is one PUT that S3 refuses if the
        entry exists. With Delta's log store for S3, two drivers could lose a commit.
        """
        settings = {
            "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
            "fs.s3a.endpoint.region": self.region,
        }
        if self.endpoint:
            settings |= {
                "fs.s3a.endpoint": self.endpoint,
                "fs.s3a.path.style.access": "true",
                "fs.s3a.connection.ssl.enabled": str(self.endpoint.startswith("https://")).lower(),
            }
        of_delta = {"spark.delta.logStore.s3.impl": "sessions_assets.ConditionalLogStore"}
        return of_delta | {f"spark.hadoop.{name}": value for name, value in settings.items()}

    def check(self, address: str) -> None:
        """List one object below an address on S3, before any work begins; a folder is not looked at.

        Raises:
            StorageError: the store does not answer within half a minute, has no such bucket, or refuses the keys.
        """
        if not address.startswith(S3_SCHEME):
            return
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - a folder need not wait for it

        files, path = url_to_fs(address, **self.for_fsspec(address, tries=1))
        bucket, _, prefix = path.partition("/")
        end = time.monotonic() + _PATIENCE_SECONDS
        try:
            while not _answers(files, bucket, prefix, last=time.monotonic() > end):
                time.sleep(1)
        except (OSError, ClientError, BotoCoreError) as error:
            where = f"endpoint {self.endpoint}" if self.endpoint else f"Amazon S3 in {self.region}"
            raise StorageError(f"{address}: bucket {bucket} at {where} cannot be used: {error}") from error


LOCAL = Storage()
"""For folders, and for Amazon's own S3 in its first region."""


def _answers(files: Any, bucket: str, prefix: str, *, last: bool) -> bool:  # noqa: ANN401 - fsspec has no types
    """Return whether the store answers; raise the error that it answers with, and no answer at the last try."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError  # noqa: PLC0415 - as above

    try:
        files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except NoCredentialsError:
        raise
    except (ConnectionError, TimeoutError, BotoCoreError):
        if last:
            raise
        return False
    return True
