"""House rules that a program can check. `make check` runs them."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.contracts import pure_modules

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("muster", "kube", "master", "worker", "provision", "drills", "tools")
# How a module asks the clock, the disk or the user, which imports alone do not show.
OPENERS = {"open", "input", "print", "utc_now"}
READERS = {"read_text", "read_bytes", "write_text", "write_bytes", "now", "utcnow", "today"}
MODULE = re.compile(r"`([\w./-]+\.py)`")
# How a page says that a file is made up: a comment, which nobody sees.
EXAMPLE = re.compile(r"<!-- example: ([\w./-]+) -->")
PATH = re.compile(r"`([\w.-]+(?:/[\w.{},*-]+)+/?)`")


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


TRACKED = _tracked()


def _sources() -> Iterator[Path]:
    for name in TRACKED:
        path = ROOT / name
        if path.suffix == ".py" and "_pb2" not in path.name and name.split("/")[0] in PACKAGES:
            yield path


SOURCES = sorted(_sources())
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name != "__main__.py"
        and (tree := ast.parse(path.read_text())).body
        and not ast.get_docstring(tree)
    ]
    assert silent == []


def test_pure_modules_ask_neither_clock_nor_disk() -> None:
    by_name = {_module(path): path for path in SOURCES}
    asking = [
        f"{module}:{line} {what}"
        for module in sorted(pure_modules(by_name, ROOT))
        if not module.startswith("tools.")
        for line, what in _asks(ast.parse(by_name[module].read_text()))
    ]
    assert asking == []


def _asks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in OPENERS:
                yield node.lineno, f"{name}()"
            case ast.Attribute(attr=name, value=ast.Name(id="datetime" | "date")) if (
                name in READERS
            ):
                yield node.lineno, f"{name}()"
            case ast.Attribute(attr=name) if name in READERS - {"now", "today"}:
                yield node.lineno, f".{name}()"


def test_the_rule_sees_who_opens_a_file_or_asks_the_time() -> None:
    tree = ast.parse("open('x')\ndatetime.now(UTC)\npath.read_text()\nself.now()\nwheel.open()")
    assert [line for line, _ in _asks(tree)] == [1, 2, 3]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    """A path in backquotes that begins with a folder of ours; braces and stars may stand in it."""
    text = page.read_text()
    lost = [
        named
        for named in set(PATH.findall(text)) - set(EXAMPLE.findall(text))
        if named.split("/")[0] in FOLDERS and not _exists(named.rstrip("/"))
    ]
    assert lost == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_modules_and_tests_that_a_page_names_exist(page: Path) -> None:
    """`pod/qos.py` means any file whose path ends so: pages name parts within their own part."""
    text = page.read_text()
    lost = [
        named
        for named in set(MODULE.findall(text)) - set(EXAMPLE.findall(text))
        if not any(path == named or path.endswith(f"/{named}") for path in TRACKED)
    ]
    assert lost == []


FOLDERS = {
    path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
} - {"build", "dist"}


def _exists(named: str) -> bool:
    return all(
        any(True for _ in ROOT.glob(one)) or (ROOT / f"{one}.py").exists()
        for one in _spelt_out(named)
    )


def _spelt_out(named: str) -> list[str]:
    """a/{b,c}.py: a/b.py and a/c.py."""
    found = re.search(r"\{([^{}]*)\}", named)
    if found is None:
        return [named]
    head, tail = named[: found.start()], named[found.end() :]
    return [one for word in found[1].split(",") for one in _spelt_out(head + word + tail)]


def test_braces_are_spelt_out() -> None:
    assert _spelt_out("a/{b,c}/d.py") == ["a/b/d.py", "a/c/d.py"]


def test_every_mutant_still_changes_the_code_that_it_names() -> None:
    catalogue = tomllib.loads((ROOT / "tests/mutants/catalogue.toml").read_text())
    lost = [
        f"{mutant['name']} ({mutant['file']})"
        for mutant in catalogue["mutant"]
        if not (ROOT / mutant["file"]).exists()
        or mutant["before"] not in (ROOT / mutant["file"]).read_text()
    ]
    assert lost == []
