"""The settings of the commands: their names, units and bounds, and how flags and YAML are read."""
