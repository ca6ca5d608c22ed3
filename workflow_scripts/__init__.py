"""The workflow's modules: one per rule, named like the rule, each run as `python -m workflow_scripts.<rule>`."""
