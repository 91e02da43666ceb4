from hypothesis import HealthCheck, settings

# The same examples on every run: a test fails because the code changed, never because of the day.
settings.register_profile(
    "core",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("core")
