"""The files of a store while it is written, and which of them are there."""

from collections.abc import Container, Iterable, Mapping

from fsrcache.store.layout import arrays
from fsrcache.store.objects import PARTIAL, Objects, location_of, storage_errors
from fsrcache.store.spec import StoreSpec

AGAIN = "See that there is room and the location can be written, then do the same again: it goes on."


class Inventory:
    """The files that a store has, listed once and kept up to date by every write.

    Parameters
    ----------
    objects
        The store's files.
    keys
        Keys of the files that are to be left as they are; None for all that exist.

    Attributes
    ----------
    name, location
        Location in words, and as a call's argument names it.
    keys
        Keys of the files that exist.
    """

    def __init__(self, objects: Objects, keys: Iterable[str] | None = None) -> None:
        self._objects = objects
        self.name, self.location = objects.name, location_of(objects)
        self.keys = set(objects.keys() if keys is None else keys)

    def holds(self, spec: StoreSpec) -> bool:
        """Return whether every file of a store's arrays is there."""
        return self.keys.issuperset(key for array in arrays(spec) for key in array.keys)

    def below(self, folder: str) -> list[str]:
        """Return the keys of the whole files below a folder, sorted."""
        return sorted(key for key in self.keys if key.startswith(f"{folder}/") and not key.endswith(PARTIAL))

    def read(self, key: str, most: int, *, start: int = 0) -> bytes | None:
        """Return the bytes of a file, little more than ``most``; None where it does not exist."""
        return self._objects.read(key, start=start, most=most) if key in self.keys else None

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole.

        Raises
        ------
        FsrcacheError
            If writing fails; the message names the file.
        """
        with storage_errors(f"{key} of the store {self.name} cannot be written", self._objects, remedy=AGAIN):
            self._objects.write(key, data)
        self.keys.add(key)

    def update(self, files: Mapping[str, bytes]) -> None:
        """Write those files that are missing or hold other bytes, in this order."""
        for key, data in files.items():
            if self.read(key, len(data)) != data:
                self.write(key, data)

    def remove_partials(self, folders: Container[str] | None = None) -> None:
        """Remove the half-written files, those in these folders or all."""
        partials = [key for key in self.keys if key.endswith(PARTIAL)]
        self.remove(key for key in partials if folders is None or key.rpartition("/")[0] in folders)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files, in this order."""
        for key in keys:
            self._objects.remove(key)
            self.keys.discard(key)
