"""The buckets of the stack: made at its start if they are not there. `python -m sessions_assets.deploy.create_buckets`.

Must not know Dagster or Spark. A folder needs no making, and is left alone.
"""

from fsspec.core import url_to_fs

from sessions_assets.settings import Settings
from sessions_assets.storage import S3_SCHEME, Storage


def make_buckets(settings: Settings) -> None:
    """Make the buckets of the landing and of the lake that are not there."""
    storage = Storage(settings.s3_endpoint, settings.s3_region)
    for address in (settings.landing, settings.lake):
        if address.startswith(S3_SCHEME):
            files, path = url_to_fs(address, **storage.for_fsspec(address))
            bucket = path.partition("/")[0]
            if bucket not in {listed.strip("/") for listed in files.ls("")}:
                files.mkdir(bucket)


if __name__ == "__main__":
    make_buckets(Settings.from_environment())
