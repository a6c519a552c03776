"""What the package needs of the system it runs on: files, caches, signals, memory, threads, devices."""
