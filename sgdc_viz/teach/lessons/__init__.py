"""Longer code of single notebooks: arrays and models in, figures and plain values out."""
