"""Fetch data sets, weights and published files: what a recipe names, or a source by its name.

What is in run.data already is left as it is. Checksums are those of workflow/sources.yaml or, for
what has none there, of an earlier fetch, which run.data/fetched.lock keeps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from seedbed.formats.archives import unpack
from seedbed.runtime.atomic import atomic, atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching.checksums import format_size
from seedbed.runtime.fetching.download import AddressesError, Expected, alone, download, shown
from seedbed.runtime.fetching.drive import transfer_folder
from seedbed.runtime.fetching.http import AddressError, discard
from seedbed.runtime.fetching.records import Record, Records, record_of_file, record_of_folder
from seedbed.runtime.fetching.space import require_space
from stages.command import run_stage
from stages.settings import DEFAULT_KINDS, combine, parse_config
from stages.settings.sources import FILE, LOCK, STATE, Source, load_sources
from stages.settings.yaml_file import read_yaml

ROOT = Path(__file__).parents[1]


def fetch(
    *,
    recipe: Annotated[list[Path] | None, "config files, as for snakemake --configfile"] = None,
    path: Annotated[list[str] | None, "paths in the data folder that sources have"] = None,
    data: Annotated[Path | None, "the data folder; default: run.data of the recipe"] = None,
    stamp: Annotated[Path | None, "writes this empty file once the one --path is there"] = None,
    dry_run: Annotated[bool, "only list what would be fetched"] = False,
) -> None:
    """Fetch what is not there yet, one after another."""
    sources = load_sources(ROOT / FILE)
    needed = []
    if recipe:
        settings = parse_config(read_config(recipe))
        data = data or Path(settings.run.data)
        needed += sources.needed(settings)
    for name in path or ():
        if (source := sources.providing(name)) is None:
            raise UserError(f"--path {name}: no source in {FILE} has it; put it there yourself")
        needed.append(source)
    if not needed:
        raise UserError("nothing to fetch: name a --recipe that reads VOC or weights, or a --path")
    if dry_run:
        list_sources(needed, data or Path("data"))
        return
    for source in needed:
        fetch_source(source, data or Path("data"), stamp)


def read_config(files: Sequence[Path]) -> dict[str, Any]:
    """The config that config files make together."""
    contents = [(path, read_yaml(path) or {}) for path in files]
    return combine(contents, {}, DEFAULT_KINDS, ROOT)


def list_sources(needed: Sequence[Source], data: Path) -> None:
    """Print what each source is, whether it is there, and where it is fetched from."""
    missing = [source for source in needed if not (data / source.path).exists()]
    for source in needed:
        print(f"{'to fetch' if source in missing else 'is there'}: {data / source.describe()}")
        if source in missing:
            checksums = [f"{kind} {value}" for kind, value in source.checksums.items()]
            print(f"    {', '.join(checksums) or 'checksum not known'}")
            print("".join(f"    {shown(address)}\n" for address in source.addresses), end="")
    sizes = [source.size or source.roughly for source in missing]
    unknown = f", and {sizes.count(None)} whose size is not known" if None in sizes else ""
    print(f"{len(sizes)} to fetch: {format_size(sum(filter(None, sizes)))}{unknown}")


def fetch_source(source: Source, data: Path, stamp: Path | None = None) -> None:
    """Fetch one source unless it is there.

    Args:
        source: what is fetched.
        data: the data folder.
        stamp: an empty file that is written once it is there.

    Raises:
        UserError: no address gives what is expected, or it cannot be unpacked or written.

    """
    target = data / source.path
    if target.exists() and (stamp is None or stamp.exists()):
        print(f"{target}: is there")
        return
    with alone(data / STATE / f"{source.key}.lock"):
        if target.exists():
            print(f"{target}: is there")
        else:
            record = _bring(source, data)
            _records(data).keep(source.path, record)
            print(f"{target}: fetched from {record['address']}, sha256 {record['sha256']}")
        if stamp:
            with atomic(stamp) as temporary:
                temporary.write_text("")


def _bring(source: Source, data: Path) -> Record:
    """Fetch a source to its place; returns what is kept of it in fetched.lock."""
    if source.folder:
        return _bring_folder(source, data)
    part = data / STATE / f"{source.key}.part"
    unpacked = source.archive.unpacked if source.archive else 0
    require_space(data, (source.size or 0) + unpacked, source.path)
    expected = _expected(source, data)
    own = data / source.archive.name if source.archive else None  # put there by a person
    if own and own.exists():
        address, file = own.name, own
        if problems := expected.problems(own):
            raise UserError(f"{own}: {problems[0]}; remove it, so that it is fetched")
    else:
        address, file = _download(source, part, expected, data), part
    record = record_of_file(file, address)
    if source.archive:
        with atomic_folder(data / source.path, replace=False) as folder:
            unpack(file, source.archive.inside, folder, unpacked)
    else:
        _publish(file, data / source.path)
    discard(part)
    return record


def _expected(source: Source, data: Path) -> Expected:
    """What the file must be; where no checksum is known, what an earlier fetch noted."""
    kept = _records(data).sha256(source.path)
    noted = {"sha256": kept} if kept else {}
    return Expected(source.file_name, source.size, source.checksums or noted)


def _download(source: Source, part: Path, expected: Expected, data: Path) -> str:
    try:
        return shown(download(source.addresses, part, expected))
    except AddressesError as error:
        raise UserError(f"{source.path}: {error}; {_by_hand(source, expected, data)}") from error


def _by_hand(source: Source, expected: Expected, data: Path) -> str:
    """What a person can do who gets the file elsewhere."""
    place = data / (source.archive.name if source.archive else source.path)
    known = "; ".join(f"{kind} {value}" for kind, value in expected.checksums.items())
    checksum = f" ({known})" if known else ""
    return f"get {source.file_name}{checksum} elsewhere, put it at {place} and run this again"


def _bring_folder(source: Source, data: Path) -> Record:
    """Fetch a folder of Google Drive."""
    reasons, place = [], data / source.path
    for address in source.addresses:
        try:
            with atomic_folder(place, replace=False) as folder:
                transfer_folder(address, folder)
                record = record_of_folder(folder, shown(address))
                kept = _records(data).sha256(source.path)
                if kept not in (None, record["sha256"]):
                    raise AddressError(f"sha256 is {record['sha256']}, not {kept} as before")
            return record
        except AddressError as error:
            reasons.append(f"{shown(address)}: {error}")
    raise UserError(f"{source.path}: {'; '.join(reasons)}; get the folder elsewhere as {place}")


def _publish(part: Path, target: Path) -> None:
    """Give a file its name, but never in place of one that is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise UserError(f"{target} is there already: it was not replaced") from None
    except OSError:  # a file system without hard links
        part.replace(target)


def _records(data: Path) -> Records:
    return Records(data / LOCK, data / STATE / f"{LOCK}.lock")


if __name__ == "__main__":
    run_stage(fetch)
