"""What several rules share: flat modules, one idea each."""
