"""The preference-aware recommender: artifact, model, retriever."""
