"""stub by lead for testing; helper replaces"""


def make_chat_model(base_url, model, **kw):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(base_url=base_url, model=model, api_key="EMPTY", max_retries=0)
