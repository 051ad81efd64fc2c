"""The agent: graph, protocols, policy clients, serving, traces, command line."""
