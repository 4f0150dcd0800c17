"""A file for HDF5 to write to that never fails, and says afterwards what went wrong.

When HDF5 cannot write, to a full disk for instance, it cannot close the file either: h5py then
ends in "Can't decrement id ref count", and the process in a segmentation fault. So the first error
is kept, nothing more is written, HDF5 closes the file as if all were well, and the error is raised
after that. Comes in: an open raw file. Knows nothing of what is written.
"""

from __future__ import annotations

import io


class ErrorKeepingFile:
    """What h5py needs of a file object. The raw file stays the caller's to close."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._error: OSError | None = None

    def raise_error(self) -> None:
        """To be called when HDF5 has closed it.

        Raises:
            OSError: the first that happened; the file is worth nothing then.
        """
        if self._error is not None:
            raise self._error

    def write(self, data: memoryview) -> None:
        """All of the data, in as many pieces as the system wants."""
        rest = memoryview(data).cast("B")
        try:
            while rest and self._error is None:
                rest = rest[self._raw.write(rest) :]
        except OSError as error:
            self._error = error

    def truncate(self, size: int) -> None:
        """Makes the file longer or shorter."""
        try:
            if self._error is None:
                self._raw.truncate(size)
        except OSError as error:
            self._error = error

    def flush(self) -> None:
        """The raw file holds nothing back."""

    def read(self, size: int = -1) -> bytes:
        """See ``io.RawIOBase``."""
        return self._raw.read(size)

    def readinto(self, buffer: memoryview) -> int:
        """See ``io.RawIOBase``."""
        return self._raw.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See ``io.RawIOBase``."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """See ``io.RawIOBase``."""
        return self._raw.tell()
