"""Scores of an edit, one folder per metric; each folder also loads with evaluate.load."""
