"""What the operating system gives: processes, signals, files, locks, memory, time and the terminal."""
