"""Study of the number of responses: how a judge does with N from 2 to 64, by which way of reading, and how it errs."""
