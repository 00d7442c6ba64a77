"""From what a model answers to numbers with intervals. Knows no method and writes no file."""
