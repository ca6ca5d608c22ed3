"""The workflow's modules: one per rule, with the rule's name, each run as `python -m workflow_scripts.<rule>`."""
