"""What Pannier costs, measured beside something that everybody can judge it by.

Each program of this package starts its servers, loads them in turn, and prints every figure next
to its anchor's from the same run.
"""
