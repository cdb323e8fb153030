"""Members of a tar, one after another: nothing is unpacked to disk, and a damaged header is an error, not the end."""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from cortex.core.errors import InputError, shown
from cortex.core.file_kinds import not_whole

LONGEST = 1 << 16  # bytes of an extended header
# Beginnings of keys of extended headers that change the size of a member's content.
OF_CONTENT = ("size", "GNU.sparse", "SCHILY.realsize")
_RECORD = re.compile(rb"(\d{1,6}) ([^=]+)=")  # its length, key=value, and a line's end


@dataclass(frozen=True)
class Member:
    """A member of a tar that is being read.

    Args:
        info: its header.
        where: the tar and the member's name, for errors.
        start: of its content in the file.
        file: the open tar.
    """

    info: tarfile.TarInfo
    where: str
    start: int
    file: BinaryIO

    @property
    def name(self) -> str:
        """Its name in the tar."""
        return self.info.name

    @property
    def regular(self) -> bool:
        """Whether it is a plain file."""
        return self.info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)

    @property
    def end(self) -> int:
        """Where the next header begins: contents fill whole blocks."""
        return self.start + -(-self.info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE

    def check_size(self, limit: int) -> None:
        """Raise an InputError unless the content has at most ``limit`` bytes, and all of them are in the tar."""
        if not 0 <= self.info.size <= limit:
            raise InputError(f"{self.where}: {self.info.size} bytes; at most {limit} allowed")
        if self.end > os.fstat(self.file.fileno()).st_size:
            raise InputError(f"{self.where}: the tar ends inside it")

    def content(self, limit: int) -> bytes:
        """The content.

        Raises:
            InputError: it has more than ``limit`` bytes, or the tar ends inside it.
        """
        self.check_size(limit)
        self.file.seek(self.start)
        return self.file.read(self.info.size)


def read_members(path: Path) -> Iterator[Member]:
    """The members of a tar in their order; the file is open as long as the iterator is.

    Extended headers are no members. The names that they state are those of the members after them; times, owners and
    the like are left out.

    Raises:
        InputError: a header is damaged, the tar ends before its end, or an extended header states that the content of a
            member is not what follows the member's header.
    """
    stated = None
    for header in _headers(path):
        kind = header.info.type
        if kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            stated = _stated_name(header) or stated
        elif kind == tarfile.GNUTYPE_LONGNAME:
            stated = _text(header.content(LONGEST).rstrip(b"\0"), header)
        elif kind == tarfile.XGLTYPE:
            if _stated_name(header) is not None:
                raise InputError(f"{header.where}: extended header 'path': not supported for all members at once")
        else:
            if stated is not None:
                header.info.name = stated
            yield replace(header, where=f"{path}: member {shown(header.name)}")
            stated = None
    if stated is not None:
        raise InputError(f"{path}: not a whole tar: it ends before member {shown(stated)}")


def _headers(path: Path) -> Iterator[Member]:
    """The headers of a tar, extended ones, too.

    They are parsed by the standard library's ``TarInfo.frombuf``, one block at a time: ``TarFile`` would follow
    extended headers of any size, and take a damaged header for the end.
    """
    with open(path, "rb") as file:
        while (block := file.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):  # a block of zeros ends a tar
            start = file.tell()
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            except (tarfile.HeaderError, ValueError) as error:
                raise not_whole(path, "tar", f"{error} at byte {start - len(block)}") from None
            member = Member(info, f"{path}: member {shown(info.name)}", start, file)
            end = member.end
            yield member
            member.check_size(info.size)
            file.seek(end)


def _stated_name(header: Member) -> str | None:
    """The name that an extended header of POSIX states, if it states one.

    Raises:
        InputError: it is damaged, or has a record of the kinds :data:`OF_CONTENT`.
    """
    content, place, found = header.content(LONGEST), 0, None
    while place < len(content):
        record = _RECORD.match(content, place)
        end = place + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(content) or content[end - 1] != ord("\n"):
            raise InputError(f"{header.where}: damaged: no extended header")
        key = _text(record[2], header)
        if key.startswith(OF_CONTENT):
            raise InputError(f"{header.where}: extended header {shown(key)}: not supported; write the tar without it")
        if key == "path":
            found = _text(content[record.end() : end - 1], header)
        place = end
    return found


def _text(content: bytes, member: Member) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{member.where}: a name that is not UTF-8") from None
