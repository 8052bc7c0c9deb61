"""Who uses whom among the files of a crate, by its paths: `use crate::`, `super::`, `self::`, and paths in code.

A `mod` line and a `pub use` that hands something on are no use of it; what is taken through such a door is taken from
the file in which it is written. Comments, texts and test modules do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Module = tuple[str, ...]
"""The path of a module below its crate: `()` is lib.rs."""

COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""",
    re.S,
)
VISIBILITY = re.compile(r"\bpub\s*\(in\b[^)]*\)")
INLINE = re.compile(r"\bmod\s+\$?\w+\s*\{")
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
    inner: list[Module] = field(default_factory=list)
    """What the modules inside of this file import."""

    @cached_property
    def items(self) -> set[str]:
        """Names that are defined here."""
        return set(ITEM.findall(self.code))

    @cached_property
    def words(self) -> set[str]:
        """All names in it, imports left out."""
        return set(WORD.findall(self.code))


def end_of_block(code: str, start: int) -> int:
    """Where the block ends whose brace was opened just before `start`."""
    depth = 1
    while depth and start < len(code):
        depth += {"{": 1, "}": -1}.get(code[start], 0)
        start += 1
    return start


def without_tests(code: str) -> str:
    """The code without its test modules."""
    while found := TESTS.search(code):
        code = code[: found.start()] + code[end_of_block(code, found.end()) :]
    return code


def depths(code: str) -> Callable[[int], int]:
    """In how many modules inside of the file a place of it is."""
    blocks = [(found.end(), end_of_block(code, found.end())) for found in INLINE.finditer(code)]
    return lambda place: sum(start <= place < end for start, end in blocks)


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
        code = without_tests(COMMENT_OR_STRING.sub(" ", path.read_text()))
        return Source(path, module, VISIBILITY.sub("pub(in)", code))

    def _read_imports(self, source: Source) -> None:
        depth = depths(source.code)
        for use in USE.finditer(source.code):
            for segments, name in paths_of(use["tree"]):
                target = self._from_root(source, segments, depth(use.start()))
                if target is not None:
                    self._add_import(source, target, name, use, depth(use.start()) > 0)
        source.code = USE.sub(lambda use: " " * len(use[0]), source.code)

    @staticmethod
    def _add_import(source: Source, target: Module, name: str, use: re.Match[str], is_inner: bool) -> None:
        shared = use["shared"] is not None
        if is_inner:
            source.inner.append(target[:-1] if name == "*" else target)
        elif name == "*":
            (source.shared_globs if shared else source.globs).append(target[:-1])
        else:
            source.imports[name] = target
            source.shared |= {name} if shared else set()

    def _from_root(self, source: Source, segments: list[str], depth: int) -> Module | None:
        """A path from the root of the crate; none if it leads out of the crate, or not out of the file."""
        rest = list(segments)
        if rest[0] == "crate":
            return tuple(rest[1:])
        up = 0
        while rest and rest[0] in ("super", "self"):
            up += rest.pop(0) == "super"
        if up < depth:
            return None
        module = source.module[: len(source.module) - (up - depth)]
        if rest == segments and (*module, rest[0]) not in self._modules:
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
        # What a module imports for itself is seen by the modules below it, too.
        if name in source.imports:
            return self.owner((*source.imports[name], *path[at + 1 :]), seen)
        for glob in source.shared_globs:
            if (*glob, name) in self.sources or name in self.sources[self.owner(glob, seen) or ()].items:
                return self.owner((*glob, *path[at:]), seen)
        return source.module

    def uses(self, source: Source) -> set[Module]:
        """The other files whose items this one uses."""
        paths = [*source.globs, *source.inner]
        prefixed = set()
        depth = depths(source.code)
        for found in PATH.finditer(source.code):
            segments = found[0].split("::")
            if segments[0] in source.imports:
                prefixed.add(segments[0])
                paths.append((*source.imports[segments[0]], *segments[1:]))
            elif (target := self._from_root(source, segments, depth(found.start()))) is not None:
                paths.append(target)
        for name, target in source.imports.items():
            # A module that is imported is used by what is taken from it; what is handed on unused is no use.
            taken = name in source.words or name not in source.shared
            if taken and not (name in prefixed and target in self.sources):
                paths.append(target)
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
