"""The command line: each module parses, calls the library and prints; `main` joins them and may be called."""
