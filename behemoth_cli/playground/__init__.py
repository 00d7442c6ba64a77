"""What the playground does, as functions that know no browser; page.py alone shows it.

Rooms: words (one world in two surfaces), scene (facts at places), outcomes (what became of facts), asking (what a model
says), making (edits), sessions (whose they are), shelf (which models), telling (code and links),
panels (what is shown), page (gradio). Each imports only those before it.
"""
