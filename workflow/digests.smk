"""Hashes of the code that a rule runs, so that an edit remakes what it may change."""

import ast
import functools
import hashlib


@functools.cache
def code_digest(dotted):
    """Hash of all project code that a module imports; comments and layout do not count.

    Settings are left out: their values reach a rule through its params.
    """
    total = hashlib.sha256()
    for path in sorted(project_files(dotted, set())):
        total.update(f"{path.relative_to(ROOT)} {content(path)}".encode())
    return total.hexdigest()[:16]


@functools.cache
def content(path):
    """What counts of a file: of Python, its syntax tree."""
    text = path.read_text()
    return ast.dump(ast.parse(text)) if path.suffix == ".py" else text


def project_files(dotted, seen):
    """Add to `seen` the files of a module, of its parents and of what they import."""
    parts = dotted.split(".")
    for depth in range(1, len(parts) + 1):
        path = ROOT.joinpath(*parts[:depth])
        package = path / "__init__.py"
        path = package if package.exists() else path.with_suffix(".py")
        settings_only = depth > 1 and parts[:2] == ["stages", "settings"]
        if path.exists() and path not in seen and not settings_only:
            seen.add(path)
            beside = (
                ("native/*.[ch]pp", "*.j2", "*.css", "*.js") if path == package else ()
            )
            seen.update(
                file for pattern in beside for file in path.parent.glob(pattern)
            )
            for name in imported(path, ".".join(parts[:depth])):
                project_files(name, seen)
    return seen


@functools.cache
def imported(path, dotted):
    """Names of the modules that a file may import (`from a import b` may mean a or a.b)."""
    package = (
        dotted.split(".") if path.name == "__init__.py" else dotted.split(".")[:-1]
    )
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            names += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return names
