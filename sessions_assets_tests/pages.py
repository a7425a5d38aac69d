"""The Markdown pages of the project, and how tests read their code blocks, commands, tables, headings and links."""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sessions_assets.settings import Settings

PROJECT = Path(__file__).parent.parent
FOLDERS = ("batches", "benchmarks", "docs", "jars", "sessions_assets", "sessions_assets_tests", "tools")


@dataclass(frozen=True)
class Page:
    """A Markdown page, by its path in the project."""

    name: str

    @cached_property
    def text(self) -> str:
        """The text of the page."""
        return (PROJECT / self.name).read_text(encoding="utf-8")

    def code(self, language: str, after: str = "") -> list[str]:
        """Return the code blocks of a language, those after a text."""
        text = self.text[self.text.index(after) :]
        return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)

    def commands(self) -> list[list[str]]:
        """Return each line of the shell blocks, split into words."""
        return [shlex.split(line) for block in self.code("bash") for line in block.splitlines()]

    def rows(self, *header: str, after: str = "") -> list[list[str]]:
        """Return the cells of the table with this header, the first one after a text."""
        start = self.text.index(f"| {' | '.join(header)} |\n", self.text.index(after))
        lines = self.text[start:].split("\n\n", 1)[0].splitlines()[2:]
        return [
            [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")] for line in lines
        ]

    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as GitHub generates them; a repeated heading gets a number."""
        prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)
        anchors: list[str] = []
        for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
            name = re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
            repeats = sum(
                other == name or re.fullmatch(rf"{re.escape(name)}-\d+", other) is not None for other in anchors
            )
            anchors.append(f"{name}-{repeats}" if repeats else name)
        return set(anchors)

    def links(self) -> list[str]:
        """Return the targets of all links and pictures, without those to other sites."""
        prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"https?://", link)]


def pages() -> list[Page]:
    """Return all Markdown pages of the project."""
    in_folders = (path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.md"))
    return [Page(str(path.relative_to(PROJECT))) for path in sorted([*PROJECT.glob("*.md"), *in_folders])]


def broken_links(page: Page) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of a page."""
    return [link for link in page.links() if not _resolves(page, link)]


def _resolves(page: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ((PROJECT / page.name).parent / path).resolve() if path else PROJECT / page.name
    if not target.exists():
        return False
    return not anchor or anchor in Page(str(target.relative_to(PROJECT))).anchors()


def plain(cell: str) -> str:
    """Return a cell without its back quotes."""
    return cell.removeprefix("`").removesuffix("`")


DagsterCommand = tuple[str, dict[str, str], list[str]]


def dagster_commands() -> list[DagsterCommand]:
    """Return each Dagster command: its page, the variables set before it, and its arguments."""
    found: list[DagsterCommand] = []
    for page in pages():
        for words in page.commands():
            settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
            rest = words[len(settings) :]
            if rest and rest[0] == "dagster":
                found.append((page.name, settings, rest[1:]))
    return found


class Requested(dict[str, str]):
    """An environment that records which variables are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Record the name; nothing is set."""
        self.names.append(name)
        return default


def variables_read() -> list[str]:
    """Return the environment variables that the settings look up."""
    requested = Requested()
    Settings.from_environment(requested)
    return [*dict.fromkeys(requested.names)]
