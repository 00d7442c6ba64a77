"""The metric forgetting: is the relation gone, and is the rest still there?"""
