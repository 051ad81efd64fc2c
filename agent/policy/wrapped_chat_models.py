"""Chat models inside LangChain's wrappers: `with_fallbacks`, `with_retry`, `bind`, `with_config`, configurable ones.

Tools are bound to each chat model inside, when it is called: the wrappers themselves have no `bind_tools`, or lose what
was configured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableWithFallbacks, ensure_config
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable


class WrappedChatModel(Runnable[Any, AIMessage]):
    """One or several chat models in wrappers, called like one."""

    def __init__(self, wrapped: Runnable[Any, Any], bind: Callable[[Any], Runnable[Any, Any]] = lambda model: model):
        self.wrapped, self._bind_each = wrapped, bind

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> WrappedChatModel:
        """Bind tools to every chat model inside. Raises whatever one of them raises that cannot have them so."""
        bound = WrappedChatModel(self.wrapped, lambda model: model.bind_tools(tools, **settings))
        _bound(bound.wrapped, bound._bind_each, None)
        return bound

    def invoke(self, input: Any, config: RunnableConfig | None = None, **settings: Any) -> AIMessage:  # noqa: A002
        """Call the model, as the context or `config` configures it."""
        answer: AIMessage = self._bound(config).invoke(input, config, **settings)
        return answer

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **settings: Any) -> AIMessage:  # noqa: A002
        """Call the model asynchronously."""
        answer: AIMessage = await self._bound(config).ainvoke(input, config, **settings)
        return answer

    def _bound(self, config: RunnableConfig | None) -> Runnable[Any, Any]:
        return _bound(self.wrapped, self._bind_each, config)


def as_chat_model(model: Runnable[Any, Any]) -> BaseChatModel | WrappedChatModel:
    """A chat model as it is, or one in wrappers, such that tools can be bound to it."""
    return model if isinstance(model, (BaseChatModel, WrappedChatModel)) else WrappedChatModel(model)


def change_chat_models(
    model: BaseChatModel | WrappedChatModel, change: Callable[[Any], Any]
) -> BaseChatModel | WrappedChatModel:
    """A chat model, or each one in wrappers, as `change` returns it."""
    if isinstance(model, WrappedChatModel):
        return WrappedChatModel(_bound(model.wrapped, change, None))
    changed: BaseChatModel = change(model)
    return changed


def chat_models_in(model: object) -> list[Any]:
    """The chat models inside, the first choice first; none where something else is inside.

    A model whose class is chosen by configuration (LangChain's `init_chat_model`) counts as one.
    """
    if isinstance(model, WrappedChatModel):
        return chat_models_in(model.wrapped)
    inside: list[object] = []
    if isinstance(model, RunnableWithFallbacks):
        inside = [model.runnable, *model.fallbacks]
    elif isinstance(model, RunnableBindingBase):
        inside = [model.bound]
    elif isinstance(model, DynamicRunnable):
        inside = [model.prepare(ensure_config())[0]]
    elif isinstance(model, BaseChatModel) or (isinstance(model, Runnable) and hasattr(type(model), "bind_tools")):
        return [model]
    found = [chat_models_in(part) for part in inside]
    return [one for models in found for one in models] if all(found) else []


def _bound(model: Any, bind: Callable[[Any], Runnable[Any, Any]], config: RunnableConfig | None) -> Runnable[Any, Any]:
    """The same wrappers around chat models that `bind` returns."""
    if isinstance(model, RunnableWithFallbacks):
        fallbacks = [_bound(fallback, bind, config) for fallback in model.fallbacks]
        return model.model_copy(update={"runnable": _bound(model.runnable, bind, config), "fallbacks": fallbacks})
    if isinstance(model, RunnableBindingBase):
        return model.model_copy(update={"bound": _bound(model.bound, bind, config)})
    if isinstance(model, DynamicRunnable):
        chosen = _bound(model.prepare(ensure_config(config))[0], bind, config)
        return chosen.with_config(model.config) if model.config else chosen
    return bind(model)
