"""The rules that keep the package in one direction: imports, names, sizes, docstrings, README and CI."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "dcejax").rglob("*.py"))
ALL = PACKAGE + sorted(
    p for pattern in ("*.py", "configs/*.py", "tests/**/*.py", "tools/*.py") for p in ROOT.glob(pattern)
)

# A module imports from lower levels and from its own part; parts on one level do not know each other, save the lowest.
LEVELS = (
    ("types", "config", "cores", "rng", "weights", "xla_flags"),
    ("batch", "physics"),
    ("protocol",),
    ("simulation", "data", "models"),
    ("cpu_kernels",),
    ("execution",),
    ("methods",),
    ("training", "conventional", "preprocessing"),
    ("runner",),
    ("cohorts",),
    ("evaluation", "selfcheck", "benchmark"),
    ("api", "cli"),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Third-party modules that only these files or folders may import.
ONLY_IN = {
    "nibabel": ("data/nifti.py", "data/nifti_file.py"),
    "pydicom": ("data/dicom/",),
    "highdicom": ("data/dicom/",),
    "dcm2niix": ("data/dicom/",),
    "orbax": ("training/checkpoints.py",),
    "absl.flags": ("cli/",),
    "ml_collections": ("cli/",),
    "flax": ("models/",),
    "torch": ("benchmark/",),
    "llvmlite": ("cpu_kernels/",),
    "dcejax.cpu_kernels": ("cpu_kernels/", "execution/policy.py"),  # the package works without the folder
    "scipy.optimize": ("benchmark/",),
}

# Gone from jax 0.10 to 0.12, about to go, or replaced by a convention of this package.
FORBIDDEN = {
    "jax.pmap",
    "jax.device_put_sharded",
    "jax.device_put_replicated",
    "jax.tree_map",
    "jax.linear_util",
    "jax.xla_computation",
    "jax.experimental.shard_map",
    "jax.experimental.maps",
    "jax.experimental.pjit",
    "jax.experimental.enable_x64",
    "jax.experimental.disable_x64",
    "jax.random.PRNGKey",  # keys are typed: jax.random.key
    "jax.numpy.empty",  # uninitialised from jax 0.11
    "jax.numpy.empty_like",
}


def _name(path):
    return str(path.relative_to(ROOT))


def _imports(tree):
    """Yield dotted names of all that is imported anywhere in a module; `from a import b` counts as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _within(name, prefix):
    return name == prefix or name.startswith(f"{prefix}.")


def _dotted_uses(tree):
    """Yield full dotted names of attributes, with aliases such as jnp written out."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in aliases:
            yield ".".join([aliases[node.id], *reversed(parts)])


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in ALL}


def test_imports_go_one_way(trees):
    wrong = []
    for path in PACKAGE:
        part = path.relative_to(ROOT / "dcejax").with_suffix("").parts[0]
        if part == "__init__":
            continue
        assert part in LEVEL, f"{_name(path)}: give dcejax.{part} a level"
        for name in _imports(trees[path]):
            target = name.split(".")[1] if name.startswith("dcejax.") else None
            if target in LEVEL and target != part and LEVEL[target] >= max(LEVEL[part], 1):
                wrong.append(f"{_name(path)} imports {name}")
    assert not wrong


def test_third_parties_stay_where_they_belong(trees):
    wrong = [
        f"{_name(path)} imports {name}"
        for path in PACKAGE
        for name in _imports(trees[path])
        for module, places in ONLY_IN.items()
        if _within(name, module) and not path.relative_to(ROOT / "dcejax").as_posix().startswith(places)
    ]
    assert not wrong


def test_nothing_that_newer_jax_has_removed(trees):
    wrong = [
        f"{_name(path)} uses {name}"
        for path in ALL
        for name in {*_imports(trees[path]), *_dotted_uses(trees[path])}
        if any(_within(name, forbidden) for forbidden in FORBIDDEN)
    ]
    wrong += [
        f"{_name(path)}:{node.lineno} enters a mesh; use jax.set_mesh"
        for path in ALL
        for node in ast.walk(trees[path])
        if isinstance(node, ast.With)
        for item in node.items
        if ast.unparse(item.context_expr).split("(")[0].lower().rsplit(".", 1)[-1] == "mesh"
    ]
    assert not wrong


def test_whether_a_file_is_there_is_asked_of_what_tells_when_the_system_does_not(trees):
    """See `dcejax.data.presence`."""
    wrong = [
        f"{_name(path)}:{node.lineno} asks a path itself; use dcejax.data.presence"
        for path in PACKAGE
        for node in ast.walk(trees[path])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args
        if node.func.attr in ("exists", "is_file", "is_dir")
    ]
    assert not wrong


def test_names_and_lengths_of_modules():
    vague = {"util", "utils", "helper", "helpers", "misc", "common"}
    assert not [_name(path) for path in ALL if vague & set(path.stem.split("_"))]
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE}
    assert not {name: length for name, length in lengths.items() if length > 350}


def test_modules_and_public_names_have_docstrings(trees):
    missing = []
    for path in PACKAGE:
        if not ast.get_docstring(trees[path]):
            missing.append(_name(path))
        scopes = [trees[path], *(n for n in trees[path].body if isinstance(n, ast.ClassDef) and n.name[0] != "_")]
        missing += [
            f"{_name(path)}: {node.name}"
            for scope in scopes
            for node in scope.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not missing


def test_the_readme_begins_with_two_commands_and_ci_runs_the_second():
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 2
    demo, test = (block.strip() for block in blocks[:2])
    assert "infer.py --demo" in demo
    assert "pytest" in test
    assert "\n" not in demo
    assert "\n" not in test
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    shown = subprocess.run([ci, "--show"], capture_output=True, text=True, check=True).stdout.strip()
    assert shown == test
