"""The opt-in side of SMS consent on Azure Communication Services.

Every module that lies directly in this folder is pure: no I/O, no clock, no environment. Everything in `adapters` talks
to the world and decides nothing. Start with `processor`: the whole job on one screen.
"""

#: Of function, operators' tool and sandbox alike; CHANGELOG.md says what changed in each.
__version__ = "1.0.0"
