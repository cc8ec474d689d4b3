"""The Pannier operator: custom resources become gateway configuration."""
