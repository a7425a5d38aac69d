"""The rule numbers (the letter R and a number): where `docs/rule.md` defines them, and where they are cited."""

import re
from pathlib import Path

from sessions_assets_tests.pages import FOLDERS, PROJECT

SUFFIXES = {".md", ".py", ".scala"}


def files() -> list[Path]:
    """Return the files of the project that may cite a rule."""
    in_folders = (path for folder in FOLDERS for path in (PROJECT / folder).rglob("*"))
    return sorted(path for path in (*PROJECT.glob("*.md"), *in_folders) if path.suffix in SUFFIXES)


def defined(page: str) -> list[str]:
    """Return the numbers of the rules that a page defines, in its order, one for each heading."""
    return re.findall(r"^#+ (R\d+) ", page, re.MULTILINE)


def cited(text: str) -> set[str]:
    """Return the rule numbers that a text cites."""
    return set(re.findall(r"\bR\d+\b", text))
