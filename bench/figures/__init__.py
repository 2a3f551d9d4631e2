"""A module per promise about speed; each has a `measure` that yields its lines of the table."""
