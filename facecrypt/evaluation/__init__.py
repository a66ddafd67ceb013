"""A saved file judged: found again by recognisers, and looked at as people would."""
