"""The networks by package name. To add one: write its file, add its recipe here."""

from . import cnn_lstm, l40

RECIPES = {recipe.name: recipe for recipe in (cnn_lstm.RECIPE, l40.RECIPE)}
