"""The picture of the imports in docs/architecture.md, drawn from the code and from the contracts of pyproject.toml."""
