"""Running the heads: the methods asked for, their fits, the choice among them, the labels."""
