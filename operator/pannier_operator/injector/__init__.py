"""The injector: an admission webhook that gives pods their gateway. Stateless; it only answers."""
