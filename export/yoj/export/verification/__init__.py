"""How a bundle agrees with the stock model, and what a precision holds."""
