"""How the two ends of a connection prove themselves to each other, while their files change."""
