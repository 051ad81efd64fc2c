from .prompts import Prompts as Prompts
from .tagged import TaggedProtocol as TaggedProtocol
from .tagged_text import read_tagged as read_tagged
from .tool_messages import read_tool_calls as read_tool_calls
from .tools import ToolsProtocol as ToolsProtocol
from .turn import (
    AgentProtocol as AgentProtocol,
    Allowance as Allowance,
    Briefing as Briefing,
    Conversation as Conversation,
    Decision as Decision,
    PolicyLineage as PolicyLineage,
    Remark as Remark,
    RemarkingProtocol as RemarkingProtocol,
    Turn as Turn,
)
