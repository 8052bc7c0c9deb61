"""On the import path of a program that imports torch and its company without needing them: whatever is asked of them is
there, and does nothing."""

from __future__ import annotations

import sys
from abc import ABCMeta
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NOT_NEEDED = {"torch", "einops", "huggingface_hub", "sentencepiece", "safetensors"}


class Anything(ABCMeta):
    """A class that has every attribute, can be inherited from, called, and used as a decorator."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return Anything(name, (), {})

    def __call__(cls, *given: object, **_: object) -> object:
        return given[0] if given and callable(given[0]) else Anything(cls.__name__, (), {})


class NotNeeded(MetaPathFinder, Loader):
    """Finds the packages that are not needed and everything in them."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in NOT_NEEDED else None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = lambda name: Anything(name, (), {})


sys.meta_path.insert(0, NotNeeded())
