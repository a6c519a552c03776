"""What several programs share: the parts of a run made of its settings, what they print, and where they write."""
