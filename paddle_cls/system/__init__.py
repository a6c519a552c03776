"""What touches the operating system: files, caches, signals, memory, threads, devices."""
