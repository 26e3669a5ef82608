import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict

from seedbed.runtime.errors import UserError
from stages.command import Split, Threads, run_stage


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int = 4


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = 0.5
    inner: Inner = Inner()


@pytest.fixture
def stage():
    """A stage that keeps what it was called with in `stage.got`."""

    def copy(
        *,
        source_file: Annotated[Path, "what to read"],
        parts: Annotated[list[Path], "many"],
        options: Options,
        threads: Threads,
        mask: Annotated[Path | None, "maybe"] = None,
        times: Annotated[int, "how often"] = 3,
    ) -> None:
        copy.got = locals()

    return copy


ARGUMENTS = ["--source-file", "a.png", "--parts", "b", "c"]


def test_options_come_from_the_signature(stage, monkeypatch):
    monkeypatch.delenv("SEEDBED_THREADS", raising=False)
    run_stage(stage, ARGUMENTS)
    assert stage.got["source_file"] == Path("a.png")
    assert stage.got["parts"] == [Path("b"), Path("c")]
    assert stage.got["options"] == Options()
    assert stage.got["mask"] is None and stage.got["times"] == 3
    assert stage.got["threads"] == 2


def test_given_options_replace_the_defaults(stage, monkeypatch):
    monkeypatch.setenv("SEEDBED_THREADS", "5")
    params = '{"rate": 2, "inner": {"side": 7}}'
    given = ["--mask", "m.png", "--times", "8", "--params", params]
    run_stage(stage, [*ARGUMENTS, *given])
    assert stage.got["options"] == Options(rate=2, inner=Inner(side=7))
    assert stage.got["mask"] == Path("m.png") and stage.got["times"] == 8
    assert stage.got["threads"] == 5
    run_stage(stage, [*ARGUMENTS, "--threads", "6"])
    assert stage.got["threads"] == 6


@dataclass(frozen=True)
class Files:
    maps: Annotated[list[Path], "many"] = ()
    table: Annotated[Path | None, "maybe"] = None


def test_the_fields_of_a_dataclass_are_options(capsys):
    got = {}

    def draw(*, output: Annotated[Path, "to write"], files: Files) -> None:
        got.update(output=output, files=files)

    run_stage(draw, ["--output", "a", "--maps", "b", "c", "--table", "d"])
    assert got == {"output": Path("a"), "files": Files([Path("b"), Path("c")], Path("d"))}
    run_stage(draw, ["--output", "a"])
    assert got["files"] == Files()
    with pytest.raises(SystemExit):
        run_stage(draw, ["--output", "a", "--files", "b"])
    assert "unrecognized arguments: --files b" in capsys.readouterr().err


def test_a_list_may_be_empty(stage):
    run_stage(stage, ["--source-file", "a.png", "--parts"])
    assert stage.got["parts"] == []


@pytest.mark.parametrize("missing", [["--parts"], ["--source-file", "a"]])
def test_options_without_a_default_are_required(stage, missing, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_stage(stage, missing)
    assert exit_.value.code == 2 and "required" in capsys.readouterr().err


def test_a_wrong_environment_is_explained(stage, monkeypatch, capsys):
    monkeypatch.setenv("SEEDBED_THREADS", "many")
    with pytest.raises(SystemExit):
        run_stage(stage, ARGUMENTS)
    assert "--threads: invalid int value: 'many'" in capsys.readouterr().err


def test_help_names_every_option(stage, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_stage(stage, ["--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0
    for word in ("--source-file", "what to read", "--params JSON", "Options as JSON", "--threads"):
        assert word in text
    assert "--options" not in text


def other_mode(got):
    """Another stage, as a mode: no option of the first is required there."""

    def look(*, mask: Annotated[Path | None, "maybe"] = None, options: Options) -> None:
        """Look only.

        And more.
        """
        got.append((mask, options))

    return look


def test_a_flag_calls_another_function_with_its_own_options(stage):
    got = []
    modes = {"--look": other_mode(got)}
    run_stage(stage, ["--mask", "m", "--look", "--params", '{"rate": 2}'], modes)
    assert got == [(Path("m"), Options(rate=2))] and not hasattr(stage, "got")
    run_stage(stage, ARGUMENTS, modes)
    assert stage.got["times"] == 3 and "mode" not in stage.got and len(got) == 1


def test_the_help_of_either_mode_names_the_flag(stage, capsys):
    for arguments, listed in (["--help"], True), (["--look", "--help"], False):
        with pytest.raises(SystemExit):
            run_stage(stage, arguments, {"--look": other_mode([])})
        text = capsys.readouterr().out
        assert re.search(r"--look +Look only\.\n", text)
        assert ("--source-file" in text) == listed


def message(function, arguments=()):
    """The line that a user sees; exit code 1 is what a text in SystemExit gives."""
    with pytest.raises(SystemExit) as exit_:
        run_stage(function, arguments)
    line = exit_.value.code
    assert isinstance(line, str) and "\n" not in line
    assert line.startswith("python -m stages.test_command: error: ")
    return line.partition("error: ")[2]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ('{"rat": 1}', "--params: rat: unknown key"),
        ('{"inner": {"sides": 1}}', "--params: inner.sides: unknown key"),
        ('{"rate": "fast"}', "--params: rate: Input should be a valid number"),
        ('{"inner": {"side": 1.5}}', "--params: inner.side: "),
        ("{rate", "--params: settings: Invalid JSON"),
    ],
)
def test_wrong_settings_are_explained_in_one_line(stage, params, expected):
    assert message(stage, [*ARGUMENTS, "--params", params]).startswith(expected)
    assert not hasattr(stage, "got")


def test_every_wrong_key_is_named(stage):
    line = message(stage, [*ARGUMENTS, "--params", '{"rate": "x", "b": 1}'])
    assert "rate: " in line and "(got 'x')" in line and "; b: unknown key" in line


def test_errors_of_users_end_in_one_line():
    def broken() -> None:
        raise UserError("mask a.png is\n  broken: correct it")

    assert message(broken) == "mask a.png is broken: correct it"


def test_a_missing_file_is_an_error_of_the_user(tmp_path):
    def read() -> None:
        (tmp_path / "none").read_text()

    assert "none" in message(read)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    ],
)
def test_what_the_machine_lacks_ends_in_one_line_with_a_remedy(error):
    def lacking() -> None:
        raise error

    line = message(lacking)
    assert str(error).strip() in line and "memory is short" in line and "lower " in line


def test_programming_errors_keep_their_traceback():
    def wrong() -> None:
        raise ValueError("probs: wrong shape")

    with pytest.raises(ValueError, match="probs"):
        run_stage(wrong, [])

    def broken() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run_stage(broken, [])


def test_a_literal_takes_one_of_its_texts(capsys):
    got = []

    def stage(*, split: Split) -> None:
        got.append(split)

    run_stage(stage, ["--split", "val"])
    assert got == ["val"]
    with pytest.raises(SystemExit) as end:
        run_stage(stage, ["--split", "vla"])
    assert end.value.code == 2
    assert "--split: invalid choice: 'vla' (choose from 'train', " in capsys.readouterr().err


def test_a_bool_is_a_flag():
    got = []

    def stage(*, loud: Annotated[bool, "say more"] = False) -> None:
        got.append(loud)

    run_stage(stage, ["--loud"])
    run_stage(stage, [])
    assert got == [True, False]
