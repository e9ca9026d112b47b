"""The networks by package name. To add one: write its file, add its recipe here."""

from .. import features
from ..data import DataError
from ..recipe import Recipe
from . import clip, cnn3, cnn_lstm, dense, l40, resnet50_rnn

RECIPES = {
    recipe.name: recipe
    for recipe in (
        cnn3.recipe("rgb"),
        cnn3.recipe("laplacian"),
        cnn_lstm.RECIPE,
        cnn_lstm.with_feature("laplacian"),
        cnn_lstm.with_feature("noise"),
        resnet50_rnn.RECIPE,
        dense.INCEPTIONV3,
        dense.XCEPTION,
        dense.FACENET,
        l40.RECIPE,
        l40.FAST,
        clip.RECIPE,
    )
}


def recipe(name: str) -> Recipe:
    """A package's recipe; `cnn-lstm-FEATURE` and `cnn3-FEATURE` for any feature of models/features."""
    if name in RECIPES:
        return RECIPES[name]
    for prefix, make in (("cnn-lstm-", cnn_lstm.with_feature), ("cnn3-", cnn3.recipe)):
        if name.startswith(prefix) and name.removeprefix(prefix) in features.names():
            return make(name.removeprefix(prefix))
    raise DataError(
        f"there is no model `{name}`: {', '.join(RECIPES)}, and cnn-lstm-FEATURE or cnn3-FEATURE with one of {', '.join(features.names())}"
    )
