"""One scripted model and one client for all tests here; an account and a control of its own for each."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from local.model import ScriptedModel
from local.model.control import ModelControl


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(think=0.0) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def any_client(model: ScriptedModel) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=model.url, api_key="none", max_retries=0, timeout=10) as connected:
        yield connected


@pytest.fixture
def account() -> str:
    return f"key-{uuid4().hex}"


@pytest.fixture
def client(any_client: AsyncOpenAI, account: str) -> AsyncOpenAI:
    return any_client.with_options(api_key=account)


@pytest.fixture
def control(model: ScriptedModel, account: str) -> ModelControl:
    return ModelControl(model.url, account)
