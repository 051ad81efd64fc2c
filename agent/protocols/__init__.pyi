from .tagged import TaggedProtocol as TaggedProtocol, read_tagged as read_tagged
from .tools import ToolsProtocol as ToolsProtocol, read_tool_calls as read_tool_calls
from .turn import (
    AgentProtocol as AgentProtocol,
    Allowance as Allowance,
    Briefing as Briefing,
    Decision as Decision,
    Turn as Turn,
)
