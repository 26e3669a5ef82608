"""Names of classes and images in annotation files that are made from masks, and back.

Such files name background and void too: labelme `_background_` and `__ignore__`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seedbed.data.file_names import image_id_of
from seedbed.data.index import ImageEntry, Index
from seedbed.data.text import compose
from seedbed.formats.palette import VOID
from seedbed.runtime.errors import UserError

BACKGROUND_NAMES = ("_background_", "background")
VOID_NAMES = ("__ignore__", "void")


@dataclass(frozen=True)
class AnnotationNames:
    """The names of a data set's classes, and of background and void where no class has that name.

    Attributes:
        classes: by class id, from 1.

    """

    classes: Sequence[str]

    @property
    def ids(self) -> dict[str, int]:
        """The class id of every name, those of background and void included."""
        others = dict.fromkeys(BACKGROUND_NAMES, 0) | dict.fromkeys(VOID_NAMES, VOID)
        return others | {name: k for k, name in enumerate(self.classes, 1)}

    @property
    def names(self) -> dict[int, str]:
        """The name that is written for each class id; UserError if a class takes all of them."""
        names = dict(enumerate(self.classes, 1))
        for value, choice in ((0, BACKGROUND_NAMES), (VOID, VOID_NAMES)):
            free = [name for name in choice if name not in self.classes]
            if not free:
                raise UserError(f"classes are named {' and '.join(choice)}: rename one of them")
            names[value] = free[0]
        return names

    def check(self, name: str, path: Path) -> None:
        """Raise UserError for a name that is none of these."""
        if name not in self.ids:
            free = f"{self.names[0]} and {self.names[VOID]}"
            raise UserError(f"{path} names {name!r}, neither a class nor {free}: correct it")


class ImageNames:
    """The images of a data set by the names of their files, as annotation files have them."""

    def __init__(self, index: Index) -> None:
        self._by_name: dict[str, dict[str, ImageEntry]] = defaultdict(dict)
        for entry in index.images:
            for name in (entry.id, image_id_of(entry.path)):
                self._by_name[name][entry.id] = entry

    def name(self, entry: ImageEntry) -> str:
        """An image's file name; its path if another image of another folder has that name."""
        alone = len(self._by_name[image_id_of(entry.path)]) == 1
        return PurePosixPath(entry.path).name if alone else entry.path

    def entry(self, file_name: str, path: Path) -> ImageEntry:
        """The image of a file's name, with any folders before it and any suffix.

        Raises UserError, naming `path`, if the data set has no such image, or several in other
        folders.
        """
        found = list(self._by_name.get(image_id_of(file_name), {}).values())
        if len(found) > 1:
            whole = "/" + compose(file_name.replace("\\", "/"))
            found = [entry for entry in found if whole.endswith("/" + compose(entry.path))]
        if len(found) != 1:
            raise UserError(f"{path} is of {file_name!r}, no image of the data set: take it out")
        return found[0]
