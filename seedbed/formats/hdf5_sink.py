"""The file object that h5py writes to, which reports a full disk as the error that it is."""

import io


class Hdf5Sink(io.FileIO):
    """A file whose write errors are kept until `check` raises them.

    Errors raised inside HDF5's callbacks get lost, and HDF5 crashes later.
    """

    failure: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write all data; does nothing after a failure."""
        rest = memoryview(data)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as failure:
            self.failure = failure
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size; does nothing after a failure."""
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as failure:
            self.failure = failure
            return 0

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure
