"""Clients: `pannier.Client` beside the published `objectstore-client` and beside `http.client` bare.

All three talk to the same gateway from this process, one call after another, on a core of their own.
The CPU and the memory shown are the caller's, not the server's.
"""
