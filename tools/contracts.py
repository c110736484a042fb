"""Import contracts by rule, for import-linter: modules that say they are pure, and no cycles.

A module is under the first contract because its docstring claims it ("Pure.", "No I/O.",
"... without I/O"); a package's claim covers everything in it. So the list cannot be forgotten.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

CLAIM = re.compile(r"\bPure\b|\b[Nn]o I/O\b|\b[Ww]ithout I/O\b")
# The type of a generator that is handed in; the functions of `random` are chance of one's own.
HANDED_IN = "from random import Random"


def claims_purity(docstring: str) -> bool:
    return CLAIM.search(docstring) is not None


def docstring(module: str, root: Path) -> str:
    """The docstring of a module below `root`; empty where there is none."""
    path = root.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.is_file():
        return ""
    return ast.get_docstring(ast.parse(source.read_text())) or ""


def pure_modules(modules: Iterable[str], root: Path) -> set[str]:
    """Those that claim it, and all below a package that does."""
    known = set(modules)
    claimed = {module for module in known if claims_purity(docstring(module, root))}
    return {m for m in known if any(m == c or m.startswith(f"{c}.") for c in claimed)}


def impurity(graph: ImportGraph, module: str, impure: set[str]) -> list[str]:
    """The shortest chain of imports from `module` to something impure; empty if there is none."""
    came_from = {module: ""}
    queue = deque([module])
    while queue:
        here = queue.popleft()
        for imported in sorted(graph.find_modules_directly_imported_by(here)):
            if imported in came_from or _is_type_only(graph, here, imported):
                continue
            came_from[imported] = here
            if any(imported == name or imported.startswith(f"{name}.") for name in impure):
                return _chain(came_from, imported)
            queue.append(imported)
    return []


def _is_type_only(graph: ImportGraph, importer: str, imported: str) -> bool:
    if imported != "random":
        return False
    details = graph.get_import_details(importer=importer, imported=imported)
    return all(detail["line_contents"] == HANDED_IN for detail in details)


def _chain(came_from: dict[str, str], last: str) -> list[str]:
    chain = [last]
    while came_from[chain[-1]]:
        chain.append(came_from[chain[-1]])
    return chain[::-1]


def cycles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other in a circle: Tarjan's components, sorted."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def enter(module: str) -> Iterator[str]:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        return iter(sorted(imports.get(module, ())))

    for start in sorted(imports):
        if start in order:
            continue
        walk = [(start, enter(start))]
        while walk:
            module, rest = walk[-1]
            following = next(rest, None)
            if following is not None:
                if following not in order:
                    walk.append((following, enter(following)))
                elif following in stack:
                    lowest[module] = min(lowest[module], order[following])
                continue
            walk.pop()
            if walk:
                above = walk[-1][0]
                lowest[above] = min(lowest[above], lowest[module])
            if lowest[module] == order[module]:
                at = stack.index(module)
                component, stack[at:] = stack[at:], []
                if len(component) > 1 or module in imports.get(module, ()):
                    found.append(sorted(component))
    return sorted(found)


class PureContract(Contract):
    """Whoever claims purity reaches none of the `impure` modules, by whatever chain of imports."""

    impure = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        impure = {str(name) for name in self.impure}  # type: ignore[attr-defined]
        chains = [
            chain
            for module in sorted(pure_modules(graph.modules, Path.cwd()))
            if (chain := impurity(graph, module, impure))
        ]
        return ContractCheck(kept=not chains, metadata={"chains": chains})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for chain in check.metadata["chains"]:
            output.print_error(f"{chain[0]} says that it is pure: {' -> '.join(chain)}")


class AcyclicContract(Contract):
    """No module imports itself by way of others, type-checking imports included."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
        found = cycles(imports)
        return ContractCheck(kept=not found, metadata={"cycles": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for cycle in check.metadata["cycles"]:
            output.print_error(f"import each other: {', '.join(cycle)}")
