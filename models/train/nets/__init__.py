"""The networks by package name. To add one: write its file, add its recipe here."""

from . import cnn_lstm

RECIPES = {recipe.name: recipe for recipe in (cnn_lstm.RECIPE,)}
