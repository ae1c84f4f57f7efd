"""Whether a store was written with an extractor."""

from dataclasses import asdict
from hashlib import sha256

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.records import value_from
from fsrcache.store.reader import FeatureStore

BATCH = 128  # pictures of an extraction; never across two blocks, and part of what a store's digest covers


def preprocessing_digest(extractor: Extractor, degradation: Degradation) -> str:
    """Return the hexadecimal SHA-256 of what becomes of the pixels before an extractor's first layer."""
    text = f"{extractor.preprocessing} {extractor.side} {asdict(degradation)} {BATCH}"
    return sha256(text.encode()).hexdigest()


def degradation_of(store: FeatureStore) -> Degradation | None:
    """Return how a store's coarse faces were made; None where a FeatureWriter of somebody's own left it out."""
    recipe = store.spec.recipe.get("degradation")
    if recipe is None:
        return None
    degradation: Degradation = value_from(Degradation, recipe, where=store.name, name="recipe.degradation")
    return degradation


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
    elif not _same_embed(store, extractor):
        other = f"another embed of {extractor.name}"
    else:
        return
    raise FsrcacheError(
        f"The store {store.name} was written with {other}, not with this {extractor.name}.",
        "Extract again into a new workspace, or restore the extractor.",
    )


def _same_embed(store: FeatureStore, extractor: Extractor) -> bool:
    """Tell whether an extractor does to the pixels what the store's did, and gives the early features that it has.

    Of pixels that no record tells, it is so.
    """
    if store.spec.widths.get("early", extractor.form.early) != extractor.form.early:
        return False
    degradation = degradation_of(store)
    return degradation is None or store.spec.digests["preprocessing"] == preprocessing_digest(extractor, degradation)
