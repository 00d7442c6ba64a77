"""Methods on edits of models, cell by cell, and the rows that come of it. Knows no report."""
