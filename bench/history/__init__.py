"""`python -m bench history`: what lists and single runs cost when the history is long."""
