"""The commands, one file each; the only code that sees settings."""
