"""The methods of Table 4: their names and the order in which they are run."""

GUIDED = ("dopamine", "implicit_prm", "random")
METHODS = (*GUIDED, "greedy", "best_of_n", "majority")
"""The last two spend what the first has spent."""
