"""The consent ledgers that last: SQLite for one machine, PostgreSQL for many instances."""
