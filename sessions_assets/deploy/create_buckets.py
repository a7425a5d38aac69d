"""Create the buckets of the landing and of the lake: `python -m sessions_assets.deploy.create_buckets`.

For the start of the stack; what exists is left alone, and so is a folder. Must not know Dagster or Spark.
"""

from fsspec.core import url_to_fs

from sessions_assets.settings import Settings
from sessions_assets.storage import S3_SCHEME, Storage


def create_buckets(settings: Settings) -> None:
    """Create the buckets of the landing and of the lake that do not exist."""
    storage = Storage(settings.s3_endpoint, settings.s3_region)
    for address in (settings.landing, settings.lake):
        if address.startswith(S3_SCHEME):
            files, path = url_to_fs(address, **storage.for_fsspec(address))
            bucket = path.partition("/")[0]
            if bucket not in {listed.strip("/") for listed in files.ls("")}:
                files.mkdir(bucket)


if __name__ == "__main__":
    create_buckets(Settings.from_environment())
