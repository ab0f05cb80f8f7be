"""Documents are true where a program can tell: Python runs, links and paths exist, flags are those of the commands."""

import contextlib
import importlib
import io
import re
import runpy
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from dcejax.cli import benchmark, bids, evaluate, fit, infer, prepare, selfcheck, simulate, status, train

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

COMMANDS = {
    "dcejax-infer": infer,
    "dcejax-fit": fit,
    "dcejax-simulate": simulate,
    "dcejax-evaluate": evaluate,
    "dcejax-train": train,
    "dcejax-selfcheck": selfcheck,
    "dcejax-benchmark": benchmark,
    "dcejax-status": status,
    "dcejax-prepare": prepare,
    "dcejax-bids": bids,
}
CONFIGS = [runpy.run_path(str(ROOT / "configs" / name))["get_config"]() for name in ("default.py", "paper.py")]
# What else a line may begin with, and the command that it calls.
SCRIPTS = {"infer.py": "dcejax-infer", "train.py": "dcejax-train"}
DESCRIBED_IN = {
    "infer.md": ("dcejax-infer", "dcejax-status"),
    "fit.md": ("dcejax-fit",),
    "prepare.md": ("dcejax-prepare",),
    "bids.md": ("dcejax-bids",),
    "simulate.md": ("dcejax-simulate",),
    "evaluate.md": ("dcejax-evaluate",),
    "train.md": ("dcejax-train",),
    "benchmarks.md": ("dcejax-selfcheck", "dcejax-benchmark"),
}

BLOCK = re.compile(r"^(?P<before>[^\n]*)\n+```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
FLAG = re.compile(r"--(?P<name>[a-z][a-z0-9_-]*)(?:\.(?P<field>[a-z0-9_.]+))?")


def _name(path):
    return str(path.relative_to(ROOT))


def _text(path):
    return path.read_text(encoding="utf-8")


def _without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def _spans(text):
    return re.findall(r"`([^`\n]+)`", _without_blocks(text))


def _python(path):
    return [
        block["code"]
        for block in BLOCK.finditer("\n\n" + _text(path))
        if block["language"] == "python" and block["before"].strip() != "<!-- not run -->"
    ]


def _links(path):
    """Yield the target of each link and picture, and the heading in it if one is named."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(_text(path))):
        if not re.match(r"[a-z]+:", target):
            file, _, heading = target.partition("#")
            yield (path.parent / file).resolve() if file else path, heading


def _anchors(path):
    headings = re.findall(r"^#+ (.+)$", _without_blocks(_text(path)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def flags():
    """Names of the flags of each command, as its help shows them."""
    found = {}
    for name, module in COMMANDS.items():
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
            patch.setattr("sys.argv", [name, "--help"])
            with pytest.raises(SystemExit) as ended:
                module.main()
        assert ended.value.code == 0
        own = shown.getvalue().split("\nFlags:\n")[1].split("\nabsl.flags:\n")[0]
        found[name] = set(re.findall(r"^  (?:-\w,)?--(?:\[no\])?(\w+):", own, re.M))
    return found


def _has(config, field):
    """Whether a configuration has a field, or a part of one that is a mapping."""
    for name in field.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        if config is None:
            return False
    return True


def _flags_in(words, known):
    """Flags that words mention; --noflag is the flag, and an override of a configuration's field is --config."""
    for word in words:
        if match := FLAG.match(word):
            name, field = match["name"], match["field"]
            if "bids_filter_file" in known:  # BIDS Apps have hyphens
                name = name.replace("-", "_")
            negated = name.startswith("no") and name.removeprefix("no") in known and name not in known
            yield name.removeprefix("no") if negated else name
            if field is not None:
                assert name == "config", word
                assert any(_has(config, field) for config in CONFIGS), word


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if _python(path)], ids=_name)
@pytest.mark.filterwarnings("ignore:.*(voxel size|slice thickness|the residual):UserWarning")  # of the coarse slab
def test_python_runs_as_it_stands(path, tmp_path, monkeypatch, coarse_slab):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "document"}
    for number, code in enumerate(_python(path), start=1):
        exec(compile(code, f"{_name(path)}, Python block {number}", "exec"), namespace)


def test_links_lead_somewhere():
    wrong = []
    for path in DOCUMENTS:
        for target, heading in _links(path):
            if not target.exists():
                wrong.append(f"{_name(path)}: {target} does not exist")
            elif heading and heading not in _anchors(target):
                wrong.append(f"{_name(path)}: {_name(target)} has no heading #{heading}")
    assert not wrong


def test_every_file_in_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), [README]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        if path.suffix == ".md" and path.exists():
            waiting += [target for target, _ in _links(path) if target not in reached]
    assert not [_name(path) for path in (ROOT / "docs").iterdir() if path not in reached]


def test_the_readme_is_short():
    assert len(_text(README).splitlines()) <= 110


def test_paths_and_modules_that_documents_name_exist():
    wrong = []
    for path in DOCUMENTS:
        if path.name == "CHANGELOG.md":  # which names old modules
            continue
        for span in _spans(_text(path)):
            path_like = re.fullmatch(r"(dcejax|configs|tests|tools|docs|\.ci)/[\w./-]*", span)
            dotted = re.match(r"dcejax(\.\w+)+", span)
            if (path_like and not (ROOT / span).exists()) or (dotted and not _exists(dotted[0])):
                wrong.append(f"{_name(path)}: {span}")
    assert not wrong


def _exists(dotted):
    """Whether a dotted name is a module or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def _command_lines(text):
    """Command lines of a document's blocks and spans, with those that go on in the next line joined."""
    blocks = [block["code"] for block in BLOCK.finditer("\n\n" + text) if block["language"] != "python"]
    for line in [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + _spans(text):
        try:
            yield shlex.split(line, comments=True)
        except ValueError:  # a span with a single quotation mark
            yield line.split()


def _called(words):
    """The command that a line calls, or None, and the words after it."""
    for place, word in enumerate(words[:4]):
        name = SCRIPTS.get(word.rsplit("/", 1)[-1], word)
        if name in COMMANDS:
            return name, words[place + 1 :]
    return None, words


def test_commands_are_called_with_flags_that_they_have(flags):
    called, wrong = set(), []
    for path in DOCUMENTS:
        for name, words in map(_called, _command_lines(_text(path))):
            if name is not None:
                called.add(name)
                unknown = set(_flags_in(words, flags[name])) - flags[name]
                wrong += [f"{_name(path)}: {name} --{flag}" for flag in unknown]
    assert called == set(COMMANDS)
    assert not wrong


@pytest.mark.parametrize("document", DESCRIBED_IN)
def test_a_command_and_its_document_have_the_same_flags(document, flags):
    """Flags that stand alone in a document are those of its command."""
    own = set().union(*(flags[name] for name in DESCRIBED_IN[document]))
    lines = _command_lines(_text(ROOT / "docs" / document))
    assert {flag for words in lines if words and words[0].startswith("--") for flag in _flags_in(words, own)} == own


def test_citation_and_changelog_are_of_this_version():
    version = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]["version"]
    assert f"\nversion: {version}\n" in _text(ROOT / "CITATION.cff")
    assert f"\n## {version}" in _text(ROOT / "CHANGELOG.md")


def test_the_oldest_versions_are_those_that_the_package_requires():
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    texts = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    required = {one.name: one.specifier for one in map(Requirement, [*texts, f"Python{project['requires-python']}"])}
    stated = re.search(r"^\| oldest \| (.+?) \|", _text(ROOT / "docs" / "testing.md"), re.M)[1].split(", ")
    assert {"Python", "jax", "flax", "numpy", "scipy"} < {one.split()[0] for one in stated}
    for name, version in map(str.split, stated):
        (least,) = (Version(one.version) for one in required[name] if one.operator == ">=")
        assert Version(version) == least, name
