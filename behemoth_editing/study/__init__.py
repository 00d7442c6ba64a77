"""The findings of a paper put to the test, by rules that read reports' numbers. Draws nothing."""
