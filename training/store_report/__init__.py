"""What a trace store holds to train on."""
