"""The version of the code that decides which rows are stored: raised when the same batch would give other rows.

A day that landed and was applied under the same version need not be done again. Must not know where the version is
noted, or what is stored.

It is a hash of the syntax trees of the modules that landing and applying import, directly or not. So a comment, a
docstring or a line break changes nothing, and a change of logic in any of them makes each day land again when it is
asked for. The compiled Scala is not part of it: it writes the rows that were computed, and counts them.
Another minor version of Python may write the same tree differently: then each day lands again once.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = "sessions_assets"
_ROOT = Path(__file__).parent.parent.parent
_DECIDING = ("sessions_assets.pipeline.land", "sessions_assets.pipeline.apply")


def code_version() -> str:
    """Return 16 hexadecimal digits: another logic, other digits."""
    return _VERSION


def version_of(modules: tuple[str, ...]) -> str:
    """Return the version of modules of this package and of all modules of it that they import."""
    trees = _trees(modules)
    text = "\n".join(f"{name} {ast.dump(trees[name])}" for name in sorted(trees))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trees(modules: tuple[str, ...]) -> dict[str, ast.Module]:
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in trees and (source := _source(name)):
            trees[name] = _without_docstrings(ast.parse(source.read_text(encoding="utf-8")))
            waiting += _imports(trees[name])
    return trees


def _source(name: str) -> Path | None:
    """Return the file of a module; None for the name of a function, or of a package."""
    path = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == _PACKAGE)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _PACKAGE:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                statement
                for statement in node.body
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            ]
    return tree


# Once for the process, when its code is loaded: the files may be others later.
_VERSION = version_of(_DECIDING)
