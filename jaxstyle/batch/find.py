"""Image files of a batch: those of a folder, a glob or a path, here or in an object store."""

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxstyle.batch.names import RESERVED
from jaxstyle.errors import ImageReadError
from jaxstyle.io.formats import READ_SUFFIXES
from jaxstyle.io.remote import FilePath, is_remote, match_remote, to_path

_IMAGE_SUFFIXES = frozenset(READ_SUFFIXES)


def find_images(
    source: str, *, keep: Callable[[list[FilePath]], list[FilePath]] = list
) -> list[FilePath]:
    """Return the image files of a folder, a glob or a path, sorted.

    Subfolders are searched only by a glob with `**`. Hidden files and contact sheets are left
    out.

    Args:
      source: path of a folder or a file, or a glob.
      keep: returns those that are no results of this batch.

    Raises:
      ImageReadError: `source` does not exist or contains no images.
    """
    path = to_path(source)
    # Unlike `Path.exists`, this does not raise for a name that is too long.
    exists = not is_remote(path) and os.path.lexists(path)
    candidates: list[FilePath]
    if is_remote(path):
        candidates = _find_remote(path)
    elif exists and path.is_dir():
        candidates = list(_scan_folder(path))
    elif glob.has_magic(source) and not exists:
        # A glob that names a suffix, such as `*.heic`, may match any format.
        any_format = path.suffix not in ("", ".*")
        candidates = [
            p for p in _match(source) if _is_image(p) or (any_format and not p.name.startswith("."))
        ]
    elif exists:
        return [path]
    else:
        raise ImageReadError(f"{source} does not exist.")
    images = keep(candidates)
    if not images and candidates:
        raise ImageReadError(f"{source} contains only results of this batch; name other images.")
    if not images:
        raise ImageReadError(f"{source} contains no images ({', '.join(READ_SUFFIXES)}).")
    return sorted(images, key=lambda path: tuple(path.parts))


def _scan_folder(folder: Path) -> Iterator[Path]:
    # `Path.is_dir` asks for each of a million files anew.
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            is_plain = not entry.is_symlink() and not entry.is_dir(follow_symlinks=False)
            if _is_image_name(entry.name) and (is_plain or not path.is_dir()):
                yield path


def _find_remote(path: FilePath) -> list[FilePath]:
    try:
        files = match_remote(path)
    except FileNotFoundError:
        raise ImageReadError(f"{path} does not exist.") from None
    except OSError as error:
        raise ImageReadError(f"{path} cannot be read: {error.strerror or error}.") from error
    return [file for file in files if file == path or _is_image(file)]


def find_skipped(source: str) -> list[FilePath]:
    """Return the files that `find_images` leaves out because of their suffixes, sorted.

    Args:
      source: path of a folder or a file, or a glob.
    """
    path = to_path(source)
    if is_remote(path):
        files = [] if _has_image_suffix(path.name) else match_remote(path)
    elif path.is_dir():
        names = os.listdir(path)  # noqa: PTH208 - a million paths are slow
        files = [path / name for name in names if not _has_image_suffix(name)]
    elif path.suffix in ("", ".*") and not os.path.lexists(path):
        files = _match(source)
    else:
        return []
    own = (".", RESERVED, "jobs.", "report.")
    return sorted(
        file
        for file in files
        if not _has_image_suffix(file.name)
        and not file.name.startswith(own)
        and (is_remote(file) or file.is_file())
    )


def _match(source: str) -> list[FilePath]:
    """Return the files that a glob matches."""
    path = Path(source)
    # Unlike in `glob.glob`, `**` does not follow links to folders, so a loop of links ends.
    root = Path(path.anchor) if path.anchor else Path()
    return [p for p in root.glob(str(path.relative_to(root))) if not p.is_dir()]


def search_root(source: str) -> FilePath:
    """Return the folder that `{folder}` starts from: the part of `source` before any wildcard.

    Args:
      source: path of a folder or a file, or a glob.

    Example:
      >>> from jaxstyle.batch.find import search_root
      >>> search_root("photos/**/*.jpg").as_posix(), search_root("photos/a.jpg").as_posix()
      ('photos', 'photos')
    """
    path = to_path(source)
    if is_remote(path):
        while glob.has_magic(str(path)):
            path = path.parent
        return path.parent if _has_image_suffix(path.name) else path
    if os.path.lexists(path):
        return path if path.is_dir() else path.parent
    wild = (i for i, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[: next(wild, -1)])


def _is_image(path: FilePath) -> bool:
    return _is_image_name(path.name) and (is_remote(path) or not path.is_dir())


def _is_image_name(name: str) -> bool:
    return _has_image_suffix(name) and not name.startswith((".", RESERVED))


def _has_image_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _IMAGE_SUFFIXES  # noqa: PTH122 - names, not paths
