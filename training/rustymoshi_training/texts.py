"""English sentences for the codec's corpus: prose from the Python library's own documentation and drawn word salads."""

import inspect
import re
import warnings

import numpy as np

MODULES = (  # noqa: SIM905 one string keeps the list readable
    "argparse asyncio calendar collections csv datetime decimal difflib email enum fractions functools heapq "
    "html http.client inspect ipaddress json locale logging mailbox multiprocessing optparse os pathlib pickle "
    "platform queue random re sched secrets selectors shelve shutil signal smtplib socket sqlite3 ssl "
    "statistics string subprocess tarfile tempfile textwrap threading timeit tkinter traceback turtle types "
    "typing unittest urllib.request uuid warnings weakref zipfile "
).split()
COMMON = (  # noqa: SIM905 one string keeps the list readable
    "I you we they she he it the a my your this that one two three four five six seven eight nine ten what who "
    "where when why how is are was were do does did can could will would should please tell say give make know "
    "think like want need see hear go come day night time year week month morning water bread cheese apple tea "
    "coffee house garden river mountain city country capital Paris Rome London Berlin Madrid France Italy "
    "Spain Germany cat dog bird fish horse cow sheep lion tiger red blue green yellow black white happy sad "
    "big small hot cold fast slow good bad old new long short story joke song weather rain snow sun moon star "
    "hello goodbye thanks sorry yes no maybe again stop repeat after me spell count number plus minus opposite "
    "colour color sound "
).split()


def prose(limit: int = 4_000) -> list[str]:
    """Sentences of 4 to 22 plain words found in docstrings of the standard library."""
    import importlib

    found: dict[str, None] = {}
    for name in MODULES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except ImportError:
            continue
        objects = [module, *[v for v in vars(module).values() if inspect.isclass(v) or inspect.isfunction(v)]]
        members = [m for c in objects if inspect.isclass(c) for m in vars(c).values() if inspect.isfunction(m)]
        for thing in objects + members:
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", inspect.getdoc(thing) or ""):
                sentence = " ".join(sentence.split())
                if re.fullmatch(r"[A-Z][a-z',;\- A-Za-z]+[.!?]", sentence) and 4 <= len(sentence.split()) <= 22:
                    found[sentence] = None
    return list(found)[:limit]


def salad(rng: np.random.Generator) -> str:
    """A drawn sentence of common words, so that the sounds of conversation are all there."""
    words = [COMMON[i] for i in rng.integers(len(COMMON), size=rng.integers(3, 12))]
    return (" ".join(words)).capitalize() + rng.choice([".", "?", "!", "."])
