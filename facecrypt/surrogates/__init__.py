"""Recognisers: one file per family, and the data that describes each."""
