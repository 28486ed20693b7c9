"""Models: our recurrent family, and what builds any model that a recipe names."""
