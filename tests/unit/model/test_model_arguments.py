"""Which function a message suggests to the scripted model, whatever notation its name is in."""

from __future__ import annotations

from local.model.arguments import called_like, is_suggested, words_of
from tests.parts.cases import cases


@cases(
    "name, words",
    [
        ("research_space_facts", ["research", "space", "facts"]),
        ("ResearchSpaceFacts", ["research", "space", "facts"]),
        ("researchSpaceFacts", ["research", "space", "facts"]),
        ("_Main_g_ResearchSpaceFacts_0_3", ["research", "space", "facts"]),
        ("get-HTML2", ["get", "html"]),
        ("_1", []),
    ],
)
def test_a_name_is_read_in_any_notation(name: str, words: list[str]) -> None:
    assert words_of(name) == words


@cases(
    "name, message, suggested",
    [
        ("get_weather", "What is the weather in Paris?", True),
        ("GetWeather", "Weather!", True),
        ("get_weather", "Call get_weather.", True),
        ("get_stock_price", "How are prices of stocks?", True),
        ("get_stock_price", "What is the price?", False),
        ("get", "Get it.", False),
        ("a", "What a day.", True),
        ("f", "What of it?", False),
        ("_1", "One, 1.", False),
        ("work", "Does it work?", True),
        ("pay", "The payroll system", False),
    ],
)
def test_what_a_message_suggests(name: str, message: str, suggested: bool) -> None:
    assert is_suggested(name, message) is suggested


@cases(
    "name, tools, found",
    [
        ("get_facts", ["GetFacts", "get_facts"], "get_facts"),
        ("get_facts", ["other", "GetFactsAsync"], "GetFactsAsync"),
        ("get_facts", ["_Main_g_GetFacts_0_3"], "_Main_g_GetFacts_0_3"),
        ("get_facts", ["forget_facts", "get_all_facts", "facts"], None),
        ("get_facts", [], None),
    ],
)
def test_one_function_has_one_name_in_each_language(name: str, tools: list[str], found: str | None) -> None:
    assert called_like(name, dict.fromkeys(tools)) == found
