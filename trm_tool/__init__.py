"""The preference-aware recommender: data, model, training, retriever, tool."""
