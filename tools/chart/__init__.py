"""What the chart holds that is made from something else: `make chart` writes it. Nothing here is shipped."""
