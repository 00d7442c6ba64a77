"""The metric ripple: did what depends on the edited fact follow it?"""
