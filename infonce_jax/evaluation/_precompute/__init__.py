"""Scripts that make the evaluation's tables, beside the tables that they make."""
