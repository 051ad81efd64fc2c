from .delta import (
    Change as Change,
    DeltaProblem as DeltaProblem,
    RequestedAction as RequestedAction,
    SaidFeedback as SaidFeedback,
    StateDelta as StateDelta,
    Unresolved as Unresolved,
    read_delta as read_delta,
)
from .delta_applied import (
    StateDifference as StateDifference,
    apply_delta as apply_delta,
    describe_state as describe_state,
    state_difference as state_difference,
)
from .delta_check import CheckedDelta as CheckedDelta, check_delta as check_delta
from .message_delta import delta_of_message as delta_of_message
from .question import Question as Question, QuestionOption as QuestionOption, question_for as question_for
from .retrieval_terms import (
    RetrievalTerms as RetrievalTerms,
    items_in_order as items_in_order,
    retrieval_terms as retrieval_terms,
)
from .state import (
    AskedQuestion as AskedQuestion,
    ConversationState as ConversationState,
    Feedback as Feedback,
    ItemOrder as ItemOrder,
    Missing as Missing,
    SaidText as SaidText,
    ShownItem as ShownItem,
    StatedCondition as StatedCondition,
    read_state as read_state,
)
from .vocabulary import (
    ConversationCatalogue as ConversationCatalogue,
    NamedAttribute as NamedAttribute,
    NamedValue as NamedValue,
)
