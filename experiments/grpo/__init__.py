"""Policies trained with judges as their reward, and with the truth: what a judge in the loop is worth."""
