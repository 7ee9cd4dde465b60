"""Of several operators one acts: who that is, and how the others make sure that they do not."""
