"""No module of the package imports, directly or through others, itself; imports inside functions count too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import dcejax

ROOT = Path(dcejax.__file__).parents[1]


def modules():
    """Sources by dotted name."""
    found = {}
    for path in (ROOT / "dcejax").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imported(source, names):
    """Modules among `names` that a source imports anywhere in it; of `from package import module`, the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if name in names)
            if node.module in names and not all(name in names for name in inner):
                yield node.module


def circle(sources):
    """Names along one circle of imports, or None."""
    try:
        TopologicalSorter({name: imported(source, sources) for name, source in sources.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_there_is_no_circle():
    assert circle(modules()) is None


def test_a_circle_would_be_found():
    lazy = "def f():\n    from p import c\n"
    assert circle({"p.a": "import p.b", "p.b": "from p.c import x", "p.c": ""}) is None
    assert set(circle({"p.a": "import p.b", "p.b": lazy, "p.c": "from p.a import y"})) == {"p.a", "p.b", "p.c"}
