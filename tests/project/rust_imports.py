"""Who uses whom among the files of a crate, by its paths: `use crate::`, `super::`, `self::`, and paths in code.

A `mod` line and a `pub use` that hands something on are no use of it; what is taken through such a door is taken from
the file in which it is written. Comments, texts and test modules do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Module = tuple[str, ...]
"""The path of a module below its crate: `()` is lib.rs."""

COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""",
    re.S,
)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))?\s+)?mod\s+\w+\s*\{")
USE = re.compile(r"(?P<shared>\bpub(?:\s*\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
PATH = re.compile(r"(?<![\w:])(?:r#)?[A-Za-z_]\w*(?:::(?:r#)?[A-Za-z_]\w*)+")
ITEM = re.compile(r"\b(?:fn|struct|enum|union|trait|const|static|type|macro_rules!)\s+(?:mut\s+)?(\w+)")
WORD = re.compile(r"\w+")


@dataclass
class Source:
    """A file of a crate, without comments, texts and tests."""

    path: Path
    module: Module
    code: str
    imports: dict[str, Module] = field(default_factory=dict)
    """What each imported name stands for, from the root of the crate."""
    shared: set[str] = field(default_factory=set)
    """Those that others may import from here."""
    globs: list[Module] = field(default_factory=list)
    shared_globs: list[Module] = field(default_factory=list)

    @cached_property
    def items(self) -> set[str]:
        """Names that are defined here."""
        return set(ITEM.findall(self.code))

    @cached_property
    def words(self) -> set[str]:
        """All names in it, imports left out."""
        return set(WORD.findall(self.code))


def without_tests(code: str) -> str:
    """The code without its test modules."""
    while found := TESTS.search(code):
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        code = code[: found.start()] + code[end:]
    return code


def paths_of(tree: str) -> Iterator[tuple[list[str], str]]:
    """The paths of a `use` tree, each with the name that it gets here."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, name = tree.partition(" as ")
        segments = [part.strip() for part in path.split("::") if part.strip()]
        if segments[-1:] == ["self"] and len(segments) > 1:
            segments.pop()
        yield segments, name.strip() or segments[-1]
        return
    before = [part.strip() for part in tree[:brace].split("::") if part.strip()]
    depth, start = 0, brace + 1
    for at in range(brace + 1, len(tree)):
        if tree[at] == "{":
            depth += 1
        elif (tree[at] == "," and depth == 0) or (tree[at] == "}" and depth == 0):
            if tree[start:at].strip():
                for segments, name in paths_of(tree[start:at]):
                    inside = before if segments == ["self"] else before + segments
                    yield inside, before[-1] if segments == ["self"] and name == "self" else name
            start = at + 1
        elif tree[at] == "}":
            depth -= 1


class Crate:
    """The files of a crate and who uses whom."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "src"
        files = (file for file in sorted(self.root.rglob("*.rs")) if file != self.root / "main.rs")
        self.sources = {source.module: source for source in map(self._read, files)}
        for source in self.sources.values():
            self._read_imports(source)

    def _read(self, path: Path) -> Source:
        parts = path.relative_to(self.root).with_suffix("").parts
        module = parts[:-1] if parts[-1] in ("mod", "lib") else parts
        return Source(path, module, without_tests(COMMENT_OR_STRING.sub(" ", path.read_text())))

    def _read_imports(self, source: Source) -> None:
        for use in USE.finditer(source.code):
            shared = use["shared"] is not None
            for segments, name in paths_of(use["tree"]):
                target = self._from_root(source, segments)
                if target is None:
                    continue
                if segments[-1] == "*":
                    (source.shared_globs if shared else source.globs).append(target[:-1])
                else:
                    source.imports[name] = target
                    source.shared |= {name} if shared else set()
        source.code = USE.sub(" ", source.code)

    def _from_root(self, source: Source, segments: list[str]) -> Module | None:
        """A path from the root of the crate; none if it leads out of the crate."""
        module, rest = source.module, list(segments)
        if rest[0] == "crate":
            return tuple(rest[1:])
        if rest[0] == "self":
            rest = rest[1:]
        elif rest[0] == "super":
            while rest and rest[0] == "super":
                module, rest = module[:-1], rest[1:]
        elif (*module, rest[0]) not in self._modules:
            return None
        return (*module, *rest)

    @cached_property
    def _modules(self) -> set[Module]:
        files = (path for path in self.root.rglob("*.rs"))
        parts = (path.relative_to(self.root).with_suffix("").parts for path in files)
        return {part[:-1] if part[-1] in ("mod", "lib") else part for part in parts}

    def owner(self, path: Module, seen: frozenset[Module] = frozenset()) -> Module | None:
        """The file in which what this path names is written."""
        if path in seen:
            return None
        seen |= {path}
        if path in self.sources:
            return path
        at = len(path)
        while path[:at] not in self.sources:
            at -= 1
        source, name = self.sources[path[:at]], path[at]
        if name in source.items or (name not in source.shared and not source.shared_globs):
            # A child sees what its parents import for themselves, too.
            private = source.imports.get(name) if name not in source.items else None
            return self.owner((*private, *path[at + 1 :]), seen) if private else source.module
        if name in source.shared:
            return self.owner((*source.imports[name], *path[at + 1 :]), seen)
        for glob in source.shared_globs:
            if (*glob, name) in self.sources or name in self.sources[self.owner(glob, seen) or ()].items:
                return self.owner((*glob, *path[at:]), seen)
        return source.module

    def uses(self, source: Source) -> set[Module]:
        """The other files whose items this one uses."""
        paths: list[Module] = []
        prefixed = set()
        for found in PATH.findall(source.code):
            segments = found.split("::")
            if segments[0] in source.imports:
                prefixed.add(segments[0])
                paths.append((*source.imports[segments[0]], *segments[1:]))
            elif segments[0] in ("crate", "self", "super") or (*source.module, segments[0]) in self.sources:
                paths.append(self._from_root(source, segments) or ())
        for name, target in source.imports.items():
            # A module that is imported is used by what is taken from it; what is handed on unused is no use.
            taken = name in source.words or name not in source.shared
            if taken and not (name in prefixed and target in self.sources):
                paths.append(target)
        paths += source.globs
        owners = {self.owner(path) for path in paths if path or source.module}
        return {owner for owner in owners if owner is not None and owner != source.module}

    def name(self, module: Module) -> str:
        """The file of a module, below `src/`."""
        return self.sources[module].path.relative_to(self.root).as_posix()

    @cached_property
    def graph(self) -> dict[Module, set[Module]]:
        """Each file and those that it uses."""
        return {module: self.uses(source) for module, source in self.sources.items()}


def circles(graph: dict[Module, set[Module]]) -> list[list[Module]]:
    """The strongly connected components of more than one node (Tarjan, 1972)."""
    order: dict[Module, int] = {}
    low: dict[Module, int] = {}
    stack: list[Module] = []
    found: list[list[Module]] = []

    def visit(node: Module) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            component = sorted(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found
