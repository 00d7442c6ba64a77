"""What the playground does, as functions that know no browser; page.py alone shows it.

Rooms: words (one world in two surfaces), scene (facts at places), asking (what a model says), outcomes (what became of
facts), making (edits), sessions (whose they are), shelf (which models), telling (code and links), page (gradio).
"""
