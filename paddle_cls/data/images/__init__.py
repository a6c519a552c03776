"""Images: from a file to uint8 RGB, and on to what a network takes."""
