"""Preference data about edited pictures: a source, an instruction, and edits of graded quality as responses."""
