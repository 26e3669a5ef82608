"""Hashes of the code that a stage runs, so that an edit remakes what it may change and no more."""

import ast
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Not counted, nor what they import:
PLUMBING = (
    "seedbed/__init__.py",  # names for other projects; stages import from the rooms
    "seedbed/runtime/*",  # how it runs, never what comes out
    "stages/command.py",  # reads options, whose values are params and files of the rules
    "stages/settings/*",  # describes settings, whose values are params
)
# Counted of what lies in a package beside its modules: C++ and its flags, parts of the report.
OTHER_SOURCES = ("*.cpp", "*.hpp", "native/*.py", "native/*.toml", "*.j2", "*.css", "*.js")


class CodeDigest:
    """Hash of the code that a module of the project runs, as 16 hexadecimal digits.

    Counted are the syntax trees of the module, of all modules that it imports, directly or not, and
    of the `__init__` of their packages, and the other sources in these packages. Comments, layout
    and docstrings do not count. Imports by name (importlib) are not seen.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Most files are part of many stages.
        self._files_of = functools.cache(self._find_files)
        self._package = functools.cache(self._find_package)
        self._source = functools.cache(self._read_source)

    def __call__(self, module: str) -> str:
        """The hash for a module such as `stages.cam`."""
        total = hashlib.sha256()
        for path in sorted(self.files(module)):
            total.update(f"{path.relative_to(self.root)} {self._source(path).content}".encode())
        return total.hexdigest()[:16]

    def files(self, module: str) -> set[Path]:
        """The files that are hashed for a module."""
        files: set[Path] = set()
        modules, seen = {module}, set[str]()
        while modules:
            seen |= modules
            added = {file for name in modules for file in self._files_of(name)} - files
            files |= added
            modules = {name for file in added for name in self._source(file).imports} - seen
        return files

    def _find_files(self, module: str) -> set[Path]:
        """Files of the project that are the module's or those of the packages it is in."""
        path, files = self.root, set()
        for part in module.split("."):
            path /= part
            files |= self._package(path)
        return files

    def _find_package(self, path: Path) -> set[Path]:
        """Files of a package, without its modules, or of a module; none if there is neither."""
        package = path / "__init__.py"
        files = {*filter(self._counts, (package, path.with_suffix(".py")))}
        if package in files:
            files |= {file for pattern in OTHER_SOURCES for file in path.rglob(pattern)}
        return files

    def _counts(self, path: Path) -> bool:
        relative = path.relative_to(self.root)
        return path.exists() and not any(map(relative.match, PLUMBING))

    def _read_source(self, path: Path) -> "Source":
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".py":
            return Source(text)
        return parsed(text, path.relative_to(self.root).parent.parts)


@dataclass(frozen=True)
class Source:
    """What counts of a file, and the names of the modules that it may import."""

    content: str
    imports: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=1024)
def parsed(text: str, package: tuple[str, ...]) -> Source:
    """What counts of Python code in a package; kept, since a process may plan more than once."""
    tree = without_docstrings(ast.parse(text))
    return Source(ast.dump(tree), frozenset(imported_modules(tree, package)))


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree without strings that are statements of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not is_string(statement)]
    return tree


def is_string(statement: ast.stmt) -> bool:
    """Whether a statement is nothing but a string, as a docstring is."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def imported_modules(tree: ast.Module, package: Sequence[str]) -> Iterator[str]:
    """Names of the modules that a file may import; `from a import b` may mean a or a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names))
