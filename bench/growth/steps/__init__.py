"""The lines of the table of blocks, by what the steps are for."""
