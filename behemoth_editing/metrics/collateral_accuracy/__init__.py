"""The metric collateral_accuracy: what else did the edit break?"""
