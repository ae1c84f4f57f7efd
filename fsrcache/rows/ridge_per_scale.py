"""ridge-per-scale: a linear map for every coarse scale; features of full resolution stay as they are."""

from collections.abc import Sequence

from fsrcache.evaluation.predictor import Predictor
from fsrcache.rows.ridge import map_predictors, train_maps
from fsrcache.rows.row import RowContext, RowResult, RowTraining, no_obstacle, trained_seeds
from fsrcache.training.ridge import RIDGE
from fsrcache.training.ridge_fit import MAP

NAME = "ridge-per-scale"
NOTE = "a linear map of every coarse scale's features to those of full resolution, by ridge regression"
SETTINGS = RIDGE
obstacle = no_obstacle


def train(training: RowTraining) -> RowResult:
    """Fit a map to the pairs of every coarse scale alone."""
    folder = training.context.workspace.row(NAME, training.seed)
    scales = [scale for scale in training.context.store.scales if scale > 1]
    return train_maps(NAME, training, {folder / f"x{scale}": (scale,) for scale in scales})


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the maps that are there, a seed each, at the scales that have one."""
    scales = [scale for scale in context.store.scales if scale > 1]
    folders = trained_seeds(context.workspace, NAME)
    maps = {seed: [folder / f"x{scale}" / MAP for scale in scales] for seed, folder in folders}
    return map_predictors(NAME, NOTE, context, maps)
