"""Files appear whole or not at all."""

import contextlib
import glob
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from cortex.core.errors import InputError

_UMASK = os.umask(0o022)
os.umask(_UMASK)


def _make_folder(path: Path) -> None:
    """Make the folder of an output."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(folder for folder in path.parents if folder.exists() and not folder.is_dir())
        raise InputError(f"{path}: {file} is a file; a folder is needed there") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any error.

    The file is flushed to the disk before it is renamed, so a crash leaves either the old file, none, or the
    whole new one under the final name. What a writer of this file that was killed had left is removed; one that is
    still at it fails. A link stays; its target is replaced. New folders go again on any error.

    Raises:
        InputError: the path is a folder, a device, a FIFO or a socket, or lies below a file.
    """
    path = Path(path)
    new = [folder for folder in path.parents if not folder.exists()]
    _make_folder(path)
    path = replaceable(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # some writers (safetensors) make files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error  # a write's error names no file
    finally:
        temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # one that holds something stays
            for folder in new:
                folder.rmdir()


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; give it this name on success, remove it on any error.

    A folder of this name is replaced, and stays on any error. A link stays; its target is replaced. A writer that was
    killed may have left folders: its old one gets the name back where there is none; the others are removed.

    Raises:
        InputError: the path is that of something else than a folder, or lies below a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: not a folder; allowed: a folder, or a new one")
    path = path.resolve() if path.is_symlink() else path
    _make_folder(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if left.name.endswith(".old.part") and not path.exists():
            os.replace(left, path)
        shutil.rmtree(left, ignore_errors=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{which}.part") for which in ("new", "old"))
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        if old.exists() and not path.exists():  # interrupted between the two
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def named_path(text: str) -> tuple[str, Path]:
    """Name and path of an option's value ``name=path``.

    Raises:
        InputError: it has another form.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"{text!r}: should be name=path")
    return name, Path(path)


def replaceable(path: Path) -> Path:
    """The regular or new file that a path names, links followed.

    Raises:
        InputError: it is a folder, a device, a FIFO or a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode  # of the path as it is: a target such as a pipe has no path of its own
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device, FIFO or socket"
            raise InputError(f"{path}: {kind}; allowed: a regular file, or a new one")
    return path.resolve() if path.is_symlink() else path  # errors name other paths as they were given


def files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder in a folder and the folders in it, links to folders followed."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif not leads_back(path):
            yield from files_below(path)


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders that it is in."""
    return folder.is_symlink() and folder.resolve() in {above.resolve() for above in folder.absolute().parents}


def state_of(path: Path) -> tuple[int, ...]:
    """Size of a file and time of its last change, in ns; nothing where a link leads to no file."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ()
    return state.st_size, state.st_mtime_ns
