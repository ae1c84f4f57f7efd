"""Whether a store was written with an extractor."""

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.store.reader import FeatureStore


def refuse_other_extractor(store: FeatureStore, extractor: Extractor) -> None:
    """Raise if a store was not written with an extractor.

    Raises
    ------
    FsrcacheError
        Naming both.
    """
    if extractor.digest != store.spec.digests["weights"]:
        name = store.spec.recipe.get("extractor", "another extractor")
        other = f"other weights of {name}" if name == extractor.name else name
        raise FsrcacheError(
            f"The store {store.name} was written with {other}, not with this {extractor.name}.",
            "Extract again into a new workspace, or restore the extractor.",
        )
