"""Messages that the agents of a suite get, where an entry asks in words."""

from deeprec.evals.requests.agent_requests import make_test_messages
from deeprec.trm_tool import Dataset


def test_messages_are_about_each_persons_target_and_never_name_it(dataset: Dataset) -> None:
    messages = make_test_messages(dataset, "test")
    assert set(messages) <= set(dataset.users)
    assert len(messages) > len(dataset.users) / 2
    assert messages == make_test_messages(dataset, "test")
    assert messages != make_test_messages(dataset, "valid")
    for user, message in messages.items():
        assert dataset.catalogue.item(dataset.target(user, 1)).title.lower() not in message.lower()
