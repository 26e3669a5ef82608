"""workflow/sources.yaml: what can be fetched from the internet, and what of it a recipe needs."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator

from seedbed.models.registry import pretrained_file
from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching.checksums import format_size
from stages.settings.base import Block, Count
from stages.settings.config import Settings
from stages.settings.errors import explain
from stages.settings.yaml_file import read_yaml

LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64}
NAME = "{name}"  # in paths and addresses of a source that is a family of files
STATE = ".fetched"  # folder in run.data of stamps and of what has come of unfinished transfers
LOCK = "fetched.lock"  # file in run.data that keeps the sha256 of what was fetched
FILE = Path("workflow/sources.yaml")


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or str(parts) in ("", "."):
        raise ValueError("must be a path inside run.data")
    return path


def _address(text: str) -> str:
    if not re.fullmatch(r"(https?://[^\s/]+/\S*|gdrive(-folder)?:[\w-]+)", text):
        raise ValueError("must be http://…, https://…, gdrive:ID or gdrive-folder:ID")
    return text


class ArchiveSource(Block):
    """An archive, of which a folder is unpacked."""

    name: Annotated[str, AfterValidator(_inside)] = Field(
        description="the archive's own name; one that lies in run.data is taken from there"
    )
    inside: str = Field("", description="the folder in the archive; empty: everything")
    unpacked: Count = Field(description="bytes that the files take at most")


class Source(Block):
    """Something that can be fetched: a file, or a folder that comes in an archive."""

    what: str = Field(description="what it is, for a person")
    path: Annotated[str, AfterValidator(_inside)] = Field(
        description="where it belongs in run.data; `{name}` stands for any name of a family"
    )
    addresses: list[Annotated[str, AfterValidator(_address)]] = Field(
        min_length=1, description="where it is, in the order in which they are tried"
    )
    size: Count | None = Field(None, description="bytes of the file or archive; null: not known")
    roughly: Count | None = Field(None, description="bytes for a person, if size is not known")
    checksums: dict[Literal["md5", "sha1", "sha256", "sha256_prefix"], str] = Field(
        {}, description="hexadecimal, by kind; none: the first fetch notes the sha256"
    )
    terms: str = Field(description="terms of use, as far as its authors state them")
    seen: str = Field(description="public code or page in which addresses and checksums were read")
    archive: ArchiveSource | None = Field(None, description="the archive that it comes in")
    folder: bool = Field(False, description="a folder of Google Drive, taken as it is")

    @model_validator(mode="after")
    def _folders_are_on_drive(self) -> "Source":
        if self.folder and (self.archive or self.checksums or self.size):
            raise ValueError("folder: has no archive, no size and no checksums")
        if self.folder and not all(one.startswith("gdrive-folder:") for one in self.addresses):
            raise ValueError("folder: needs addresses gdrive-folder:ID")
        return self

    @model_validator(mode="after")
    def _checksums_are_hexadecimal(self) -> "Source":
        for kind, value in self.checksums.items():
            length = str(LENGTHS.get(kind, "8,64"))
            if not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
                raise ValueError(f"checksums.{kind}: {value!r} is no {kind}")
        return self

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder and not a file."""
        return self.folder or self.archive is not None

    @property
    def file_name(self) -> str:
        """The name of the file that is transferred."""
        return self.archive.name if self.archive else PurePosixPath(self.path).name

    @property
    def key(self) -> str:
        """The path as a plain name, for files about this source."""
        return self.path.replace("/", "-")

    @property
    def rule_name(self) -> str:
        """The path as part of a rule's name."""
        return re.sub(r"\W", "_", self.path)

    @property
    def stamp(self) -> str:
        """Path in run.data of the empty file that says that it was fetched."""
        return f"{STATE}/{self.key}"

    def providing(self, path: str) -> "Source | None":
        """Return the source, with its name filled in, if a path in run.data is or lies in it."""
        pattern = re.escape(self.path).replace(re.escape(NAME), "(?P<name>[^/]+?)")
        match = re.fullmatch(f"{pattern}(/.*)?", path)
        if match is None:
            return None
        name = match.groupdict().get("name") or ""
        fill = {
            "path": self.path.replace(NAME, name),
            "addresses": [address.replace(NAME, name) for address in self.addresses],
        }
        return self.model_copy(update=fill)

    def lies_in(self, other: "Source") -> bool:
        """Whether it belongs into the folder that another source is."""
        return other.is_tree and self.path.startswith(f"{other.path}/")

    def describe(self) -> str:
        """Path, size and terms in a few words."""
        count = self.size or self.roughly
        size = format_size(count) if count else "size not known"
        return f"{self.path} ({self.what}; {size}; terms: {self.terms})"


class Sources(BaseModel):
    """Everything that can be fetched, by name."""

    entries: dict[str, Source]

    def providing(self, path: str) -> Source | None:
        """The source that a path in run.data comes from: of several the innermost; or None."""
        found = filter(None, (source.providing(path) for source in self.entries.values()))
        return max(found, key=lambda source: len(source.path), default=None)

    def needed(self, settings: Settings) -> list[Source]:
        """What the settings name that can be fetched, each once; folders before files.

        Any text in the settings that is the path of a source, or lies in one, names it.
        """
        pretrained = [
            pretrained_file(training.network)
            for _, training in settings.trainings()
            if training.weights == "pretrained"
        ]
        texts = texts_in(settings.model_dump(mode="json"))
        texts = [*texts, *settings.convert.label_files, *pretrained]
        named = filter(None, map(self.providing, texts))
        return sorted({one.path: one for one in named}.values(), key=lambda one: not one.is_tree)


def texts_in(value: Any) -> Iterator[str]:  # noqa: ANN401 - any value of a config
    """All texts in a nested structure, in order."""
    if isinstance(value, str):
        yield os.path.normpath(value) if value else value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def load_sources(path: Path) -> Sources:
    """Read workflow/sources.yaml; a UserError in one line names what is wrong."""
    try:
        entries = TypeAdapter(dict[str, Source]).validate_python(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}; correct the file") from None
    return Sources(entries=entries)
