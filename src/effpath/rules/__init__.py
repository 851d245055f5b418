"""Which inputs of an active output matter: a table from operator to rule, one file per family.

Reading `RULES` is reading the method. A rule is a function of (graph, node) that returns one of the kinds
in `effpath.rules.kinds`; it looks at geometry only, never at activations, and the walk knows only the kinds.
"""

from effpath.rules.plan import LEVELS, Layer, Level, Plan, plan_for
from effpath.rules.table import RULES, rule_for

__all__ = ["LEVELS", "RULES", "Layer", "Level", "Plan", "plan_for", "rule_for"]
