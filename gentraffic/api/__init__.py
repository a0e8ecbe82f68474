"""What `import gentraffic` offers: one function for each thing that the command line does; `cli` parses and prints."""
