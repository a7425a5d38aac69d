"""Batches in the landing: where they are, which files each has, and whether these have changed.

Knows file names, on any file system of fsspec. Must not know what is in a file, Spark, the Delta tables or Dagster:
to list batches starts no JVM.
Source of the rules: R20 (empty and missing).
"""

import hashlib
import io
import re
import stat
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fsspec.core import url_to_fs

from sessions_assets.rule.input_format import OWN_FORMAT, InputFormat
from sessions_assets.storage import LOCAL, S3_SCHEME, Storage

COMPRESSIONS = (".gz", ".bz2", ".zst")
FORMATS = (*[text + end for text in (".csv", ".tsv", ".jsonl") for end in ("", *COMPRESSIONS)], ".parquet")

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class DeliveryError(Exception):
    """A batch that is missing, unreadable, ambiguous, or lacks a column. The message names path and cause."""


@dataclass(frozen=True)
class Delivery:
    """One batch in the landing.

    Attributes:
        day: arrival day.
        source: name of the file or folder in the landing.
        files: full addresses of the files with events.
        fingerprint: changes whenever a file of the batch changes.
    """

    day: date
    source: str
    files: tuple[str, ...]
    fingerprint: str

    @property
    def is_folder(self) -> bool:
        """Return whether the batch is a folder named by the day."""
        return not self.source.endswith(FORMATS)


class Landing:
    """The folder or bucket prefix that holds the batches, each named by its arrival day.

    Args:
        root: a folder or an address such as `s3://bucket/prefix`.
        storage: how an S3 bucket is reached.
        input_format: how the source delivers events.
    """

    def __init__(self, root: str, storage: Storage = LOCAL, input_format: InputFormat = OWN_FORMAT) -> None:
        self.input_format = input_format
        self._is_s3 = root.startswith(S3_SCHEME)
        self._files, self._root = url_to_fs(root, **storage.for_fsspec(root))

    def address(self, name: str = "") -> str:
        """Return the full address of a name in the landing."""
        return str(self._files.unstrip_protocol("/".join(part for part in (self._root, name) if part)))

    def missing(self, day: date) -> str:
        """Return the message that names where a batch of this day was looked for (R20)."""
        return f"no batch of {day} in {self.address()}: expected {self._expected(day)}"

    def open(self, file: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file of a batch by its address."""
        # A file that fsspec opens on S3 cannot read a line with a limit of its length.
        return io.BufferedReader(self._files.open(file, "rb"))

    @staticmethod
    def _expected(day: date) -> str:
        return f"{day}[{'|'.join(FORMATS)}] or a folder {day}/"

    def find(self, days: Collection[date]) -> dict[date, Delivery]:
        """Return the batches of these days; a day without one is left out.

        Raises:
            DeliveryError: no landing, two batches of one day, or a folder with anything but files of events.
        """
        found, problems = self.look(days)
        for problem in problems.values():
            raise problem
        return found

    def look(self, days: Collection[date]) -> tuple[dict[date, Delivery], dict[date, DeliveryError]]:
        """Return the batches of these days, and the error of each day whose batch cannot be used.

        The landing is listed once, and so is the folder of each day that has one.

        Raises:
            DeliveryError: there is no landing.
        """
        names = {f"{day}{suffix}": day for day in days for suffix in ("", *FORMATS)}
        found: dict[date, Delivery] = {}
        problems: dict[date, DeliveryError] = {}
        for entry in self._list(self._root):
            name = PurePosixPath(entry["name"]).name
            if (day := names.get(name)) is None:
                continue
            try:
                if day in found:
                    both = f"{found[day].source} and {name}"
                    raise DeliveryError(f"two batches of {day} in {self.address()}: {both}; keep one")  # noqa: TRY301
                found[day] = self._delivery(day, name, entry)
            except DeliveryError as problem:
                problems.setdefault(day, problem)
        return {day: found[day] for day in sorted(found) if day not in problems}, problems

    def _delivery(self, day: date, name: str, listed: Mapping[str, Any]) -> Delivery:
        entry = self._followed(listed)
        is_folder = entry["type"] == "directory"
        if is_folder != (_DAY.fullmatch(name) is not None):
            problem = "is a folder: expected a file" if is_folder else "is a file: expected a folder of that name"
            raise DeliveryError(f"{self.address(name)} {problem}, or {self._expected(day)}")
        files = self._parts(name) if is_folder else [entry]
        addresses = [str(self._files.unstrip_protocol(file["name"])) for file in files]
        for address, file in zip(addresses, files, strict=True):
            if file["type"] != "file":
                raise DeliveryError(f"{address} is neither a file nor a folder: expected a file of events")
        versions = [f"{PurePosixPath(f['name']).name} {f['size']} {_version(f)}" for f in files]
        return Delivery(day, name, tuple(addresses), hashlib.sha256("\n".join(versions).encode()).hexdigest()[:32])

    def _parts(self, folder: str) -> list[Mapping[str, Any]]:
        entries = self._list(f"{self._root}/{folder}")
        # Spark and Hadoop leave hidden files such as _SUCCESS and .part-0.crc.
        listed = [e for e in entries if not PurePosixPath(e["name"]).name.startswith(("_", "."))]
        parts = [self._followed(entry) for entry in listed]
        unexpected = [e["name"] for e in parts if e["type"] == "directory" or not e["name"].endswith(FORMATS)]
        if unexpected or not parts:
            problem = f"holds {PurePosixPath(unexpected[0]).name}" if unexpected else "holds no file"
            expected = f"expected files ending in {', '.join(FORMATS)}"
            raise DeliveryError(f"{self.address(folder)} {problem}: {expected}")
        return parts

    def _list(self, folder: str) -> list[Mapping[str, Any]]:
        try:
            self._files.invalidate_cache(folder)
            entries = [entry for entry in self._files.ls(folder, detail=True) if not _is_marker(entry)]
        except FileNotFoundError as error:
            if self._is_s3:
                return []  # S3 has no empty prefix; that the bucket exists was checked before
            address = self._files.unstrip_protocol(folder)
            raise DeliveryError(f"{address} does not exist: expected a folder with batches") from error
        except NotADirectoryError as error:
            raise DeliveryError(f"{folder} is a file: expected a folder with batches") from error
        except PermissionError as error:
            address = self._files.unstrip_protocol(folder)
            raise DeliveryError(f"{address} may not be listed: expected a folder that can be read") from error
        return sorted(entries, key=lambda entry: str(entry["name"]))

    def _followed(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a link leads to, under the name of the link; anything else as it is."""
        # fsspec lists the time and the type of the link itself, which stay when its target changes.
        if not entry.get("islink"):
            return entry
        try:
            target = Path(entry["name"]).stat()
        except OSError as error:
            link = f"{self._files.unstrip_protocol(entry['name'])} is a link to {entry['destination']}"
            raise DeliveryError(f"{link}, which cannot be followed: {error.strerror}") from error
        kind = "directory" if stat.S_ISDIR(target.st_mode) else "file" if stat.S_ISREG(target.st_mode) else "other"
        return {**entry, "type": kind, "size": target.st_size, "mtime": target.st_mtime}


def _is_marker(entry: Mapping[str, Any]) -> bool:
    """Return whether an object on S3 only says that there is a folder, as consoles and Hadoop leave them."""
    return not entry["size"] and entry["name"].endswith(("/", "_$folder$"))


def _version(entry: Mapping[str, Any]) -> str:
    version = entry.get("ETag") or entry.get("mtime")
    return f"{version} {entry['destination']}" if entry.get("islink") else str(version)
