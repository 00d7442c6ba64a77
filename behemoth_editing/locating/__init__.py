"""Facts whose place in the model is known, what is said of where they are, and edits there and elsewhere."""
