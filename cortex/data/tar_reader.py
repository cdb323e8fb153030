"""Members of a tar, one after another: nothing is unpacked to disk, and a damaged header is an error, not the end."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cortex.core.errors import InputError


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

    Headers are parsed by the standard library's ``TarInfo.frombuf``, one block at a time: ``TarFile`` would follow
    extended headers of any size, and take a damaged header for the end.

    Raises:
        InputError: a header is damaged, or the tar ends before its end.
    """
    with open(path, "rb") as file:
        while (block := file.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):  # a block of zeros ends a tar
            start = file.tell()
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            except (tarfile.HeaderError, ValueError) as error:
                raise InputError(f"{path}: not a whole tar: {error} at byte {start - len(block)}") from None
            member = Member(info, f"{path}: member {info.name!r}", start, file)
            yield member
            member.check_size(info.size)
            file.seek(member.end)
