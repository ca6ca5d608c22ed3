"""The workflow's modules: one per rule, with the rule's name, each run as `python -m workflow_scripts.<rule>`."""

import gc

# Imports make hundreds of thousands of objects that live to the end: the default of 700 has the collector look at all
# of them again and again, a third of torch's time of import.
gc.set_threshold(50_000, *gc.get_threshold()[1:])
