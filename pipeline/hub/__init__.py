"""What comes in from the Hub: models, data sets and tokenizers, each at one commit."""
