"""What leaves for the Hub: the model card, what is checked before, and the push."""
