"""Helpers shared by the tests: small networks, random weights, evaluation, the exactness law."""
