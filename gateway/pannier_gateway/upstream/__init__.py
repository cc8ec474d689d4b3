"""The exchange with a server upstream: HTTP/1.1, every phase visible, nothing sent twice."""
