"""Reading pickle, JSON and YAML that a stranger may have written: bounded, and without running anything in them."""
