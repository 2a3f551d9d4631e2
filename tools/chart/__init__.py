"""Generates the files of the chart that have their source elsewhere, for `make chart`."""
