"""How the model calls the recommender: tags in plain text, or OpenAI tool calling."""

from deeprec.agent.protocols.tagged import TaggedProtocol, read_tagged
from deeprec.agent.protocols.tools import ToolsProtocol, read_tool_calls
from deeprec.agent.protocols.turn import AgentProtocol, Allowance, Briefing, Decision, Turn

__all__ = [
    "AgentProtocol",
    "Allowance",
    "Briefing",
    "Decision",
    "TaggedProtocol",
    "ToolsProtocol",
    "Turn",
    "read_tagged",
    "read_tool_calls",
]
