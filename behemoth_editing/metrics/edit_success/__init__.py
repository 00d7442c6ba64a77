"""The metric edit_success: did the edit take?"""
