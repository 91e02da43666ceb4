"""The consent ledger, as operators and auditors use it."""
