"""
The site of the documentation: what Sphinx does not do by itself.

Pages are plain Markdown, which GitHub shows as well. Whatever can be read from the code is made from it while the site
is built, so that it cannot be out of date.
"""
