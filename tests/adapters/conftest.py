"""A sandbox endpoint per test."""

import pytest

from sandbox.endpoint import Endpoint


@pytest.fixture
async def endpoint():
    async with Endpoint() as running:
        yield running
