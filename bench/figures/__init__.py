"""One module for each promise about speed. Its `measure` yields its lines of the table."""
