"""Templates of the cards: data only."""
