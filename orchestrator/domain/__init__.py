"""The rules of the product: pure values and functions, no input or output, no clock."""
