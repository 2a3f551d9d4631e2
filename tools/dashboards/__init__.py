"""
The Grafana dashboards as code, in the words of docs/metrics.md. The chart holds the resulting JSON.

Each dashboard is a file that reads as its table of contents. What panels have in common is in `panels`.
"""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards import operators, queues


def boards() -> dict[str, str]:
    """The JSON of each dashboard by its name."""
    built = {"queues": queues.built(), "operator": operators.built()}
    return {
        name: json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, board in built.items()
    }
