"""What the chart holds that is made from something else: `python -m charts` writes it. Nothing here is shipped."""
