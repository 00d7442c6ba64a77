"""The benchmark's tracks, each with one number of a method, and the board of them. It trains and edits nothing."""
