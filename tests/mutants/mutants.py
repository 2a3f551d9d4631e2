"""The mutants: each takes one guarantee away by a small replacement, and names tests that notice."""

from tests.mutants import (
    ahead,
    bounds,
    console,
    damage,
    delivery,
    dropping,
    fairness,
    history,
    hooks,
    late_calls,
    leases,
    order,
    registering,
    steps,
    suspects,
    workers,
)

MUTANTS = [
    *ahead.MUTANTS,
    *suspects.MUTANTS,
    *order.MUTANTS,
    *delivery.MUTANTS,
    *dropping.MUTANTS,
    *fairness.MUTANTS,
    *late_calls.MUTANTS,
    *registering.MUTANTS,
    *leases.MUTANTS,
    *bounds.MUTANTS,
    *console.MUTANTS,
    *damage.MUTANTS,
    *history.MUTANTS,
    *hooks.MUTANTS,
    *steps.MUTANTS,
    *workers.MUTANTS,
]
