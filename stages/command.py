"""The command line that every stage shares, made from the signature of the stage's function."""

import argparse
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from seedbed.runtime.errors import UserError
from stages.settings.errors import explain

Model = TypeVar("Model", bound=BaseModel)

# Where and how a stage runs: the workflow hands these over as environment variables, so that
# they never count as a change of the result.
Data = Annotated[Path, "folder that the paths in the index are relative to", "SEEDBED_DATA", "data"]
Device = Annotated[Literal["auto", "cpu", "cuda"], "auto, cpu or cuda", "SEEDBED_DEVICE", "auto"]
Threads = Annotated[int, "threads of a training on the CPU", "SEEDBED_THREADS", "2"]
Deterministic = Annotated[
    int, "1: the same bytes on every CUDA run, more slowly; 0: not", "SEEDBED_DETERMINISTIC", "1"
]
Workers = Annotated[int, "worker processes", "SEEDBED_WORKERS", "1"]


Split = Annotated[Literal["train", "val", "test"], "train, val or test"]


def run_stage(
    function: Callable[..., None],
    arguments: Sequence[str] | None = None,
    modes: Mapping[str, Callable[..., None]] | None = None,
) -> None:
    """Call a stage's function with the values of the command line.

    A parameter `name: Annotated[Path, "help"]` becomes the option `--name`; a list takes several
    values; a bool is a flag; a Literal of texts takes one of them; a parameter whose default is
    None may be left out; a pydantic model is read from `--params` as JSON; the fields of a
    dataclass become options of their own. A flag of `modes` calls its own function instead, with
    options of its own.
    An argument `cam/{1..3}-of-3.h5` names three files, as in bash.
    Exits with status 1 and one line on stderr if the user can correct the error.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = [each for argument in arguments for each in _expand_braces(argument)]
    modes = modes or {}
    function = next((modes[flag] for flag in modes if flag in arguments), function)
    hints = typing.get_type_hints(function, include_extras=True)
    parser = _parser(function)
    for flag, other in modes.items():
        about = inspect.getdoc(other) or ""
        parser.add_argument(flag, action="store_true", help=about.partition("\n")[0], dest="mode")
    values = vars(parser.parse_args(arguments))
    values.pop("mode", None)
    try:
        for name, hint in hints.items():
            kind = _plain(hint)
            if inspect.isclass(kind) and issubclass(kind, BaseModel):
                values[name] = parse_settings(kind, values.pop("params"))
            elif is_dataclass(kind):
                names = [field.name for field in fields(kind)]
                values[name] = kind(**{name: values.pop(name) for name in names})
        function(**values)
    except Exception as error:
        if (line := _user_message(error)) is None:
            raise
        sys.exit(f"{parser.prog}: error: {' '.join(line.split())}")


def _user_message(error: Exception) -> str | None:
    """One line for an error that the user can correct; None for an error of the program."""
    if isinstance(error, UserError | OSError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"memory is short: {error}; lower --cores or raise run.shards"
    # Raised wherever the training is at that moment, by torch's handler of SIGCHLD.
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        return (
            f"{error}: a process that reads the training's images died, as when memory is short; "
            "lower run.compute_threads and run the same command again"
        )
    return None


def _expand_braces(argument: str) -> list[str]:
    """`a{1..3}b` is a1b, a2b and a3b. A command of bash is too short to name thousands of shards.

    Not a list file: a rule of its own would have to write it, and torchrun's processes cannot
    share a pipe.
    """
    match = re.fullmatch(r"([^{}]*)\{1\.\.([0-9]+)\}([^{}]*)", argument, re.DOTALL)
    if match is None:
        return [argument]
    head, count, tail = match.groups()
    return [f"{head}{number}{tail}" for number in range(1, int(count) + 1)]


def parse_settings(model: type[Model], text: str, option: str = "--params") -> Model:
    """Settings from the JSON of an option; a UserError in one line names the wrong keys."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{option}: {explain(error)}") from None


class Option(NamedTuple):
    """A parameter of a stage's function, or a field of a dataclass that one takes."""

    name: str
    hint: object
    default: object


def options_of(owner: Callable[..., object]) -> Iterator[Option]:
    """The options of a function, or of a dataclass."""
    hints = typing.get_type_hints(owner, include_extras=True)
    for parameter in inspect.signature(owner).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(kind := _plain(hint)):
            yield from options_of(kind)
        else:
            yield Option(parameter.name, hint, parameter.default)


def _parser(function: Callable[..., None]) -> argparse.ArgumentParser:
    module = inspect.getmodule(function)
    name = Path(inspect.getfile(function)).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}", description=module.__doc__ if module else None
    )
    for option in options_of(function):
        _add_option(parser, option)
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    kind = _plain(option.hint)
    about = getattr(option.hint, "__metadata__", ("",))
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        parser.add_argument(
            "--params", default="{}", metavar="JSON", help=f"{kind.__name__} as JSON"
        )
        return
    name = f"--{option.name.replace('_', '-')}"
    if kind is bool:
        parser.add_argument(name, action="store_true", help=about[0])
        return
    keywords: dict[str, Any] = {"help": about[0], "metavar": option.name.upper()}
    if typing.get_origin(kind) is list:
        keywords["nargs"] = "*"
        (kind,) = typing.get_args(kind)
    keywords["type"] = _plain(kind)
    if typing.get_origin(kind) is Literal:
        keywords["choices"] = typing.get_args(kind)
        keywords["type"] = str
    if len(about) == 3:
        keywords["default"] = os.environ.get(about[1], about[2])  # argparse converts text
    elif option.default is not inspect.Parameter.empty:
        keywords["default"] = option.default
    else:
        keywords["required"] = True
    parser.add_argument(name, **keywords)


def _plain(hint: object) -> Any:  # noqa: ANN401 - any type object
    """Take Annotated and `| None` off a type."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    arguments = [a for a in typing.get_args(hint) if a is not type(None)]
    optional = type(None) in typing.get_args(hint)
    return _plain(arguments[0]) if optional else hint
