"""The numbers of a session are declared once: everybody else says the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from rustymoshi import Model
from rustymoshi._native import SESSION_PARAMETERS
from rustymoshi.cli import cli

ROOT = Path(__file__).parents[2]
NAMES = [name for (name, _, _), _, _ in SESSION_PARAMETERS]


def test_python_and_its_stubs_take_all_of_them() -> None:
    signature = list(inspect.signature(Model.session).parameters)
    assert signature[1] == "seed" or "seed" in signature
    assert set(NAMES) <= set(signature)
    stub = (ROOT / "python/rustymoshi/_native.pyi").read_text()
    session = stub[stub.index("def session(") :]
    session = session[: session.index("->")]
    for (name, _, _), (_, _, whole, _), _ in SESSION_PARAMETERS:
        kind = "SupportsIndex | None" if whole else "float | None"
        assert f"{name}: {kind} = None" in session, name


@pytest.mark.parametrize("parameter", SESSION_PARAMETERS, ids=NAMES)
def test_python_refuses_what_is_out_of_range_and_takes_the_ends(parameter: tuple) -> None:
    (name, _, _), (low, high, whole, _), _ = parameter
    model = Model.default()
    for value in (low, high):
        model.session(**{name: int(value) if whole else value})
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{name} is .*; expected .*{number(low)} to {number(high)}"):
            model.session(**{name: int(value) if whole else value})


def test_an_error_repeats_a_number_as_it_was_written() -> None:
    with pytest.raises(ValueError, match=r"temperature is 10\.1; expected a number from 0 to 10$"):
        Model.default().session(temperature=10.1)


@pytest.mark.parametrize("parameter", SESSION_PARAMETERS, ids=NAMES)
def test_options_take_the_ends_of_the_range_as_the_manual_writes_them(parameter: tuple) -> None:
    (name, _, _), (low, high, _, _), _ = parameter
    option = next(option for option in cli.commands["run"].params if option.name == name)
    for end in (low, high):
        assert option.type.convert(number(end), option, None) == end


@pytest.mark.parametrize("command", ["run", "chat"])
def test_commands_have_an_option_for_each(command: str) -> None:
    page = CliRunner().invoke(cli, [command, "--help"], terminal_width=200).output
    for (name, _, help), _, _ in SESSION_PARAMETERS:
        assert f"--{name.replace('_', '-')}" in page
        assert help in re.sub(r"\s+", " ", page), name


def number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:.0f}"


def test_the_page_shows_each_of_them() -> None:
    script = (ROOT / "crates/moshi-backend/web/protocol.js").read_text()
    for (_, wire, _), (_, _, _, usual), (label, low, high, step) in SESSION_PARAMETERS:
        row = (
            f'  {{ name: "{wire}", label: "{label}", min: {number(low)}, max: {number(high)}, '
            f"step: {number(step)}, usual: {number(round(usual, 6))} }},"
        )
        assert row in script, f"protocol.js lacks\n{row}"


def test_the_manual_explains_each_of_them() -> None:
    manual = (ROOT / "docs/protocol.md").read_text()
    for (_, wire, help), (low, high, whole, usual), _ in SESSION_PARAMETERS:
        kind = "a whole number" if whole else "a number"
        said = help[0].lower() + help[1:]
        row = f"| `{wire}` | {said}: {kind} from {number(low)} to {number(high)} | {number(round(usual, 6))} |"
        assert row in manual, f"docs/protocol.md lacks\n{row}"
