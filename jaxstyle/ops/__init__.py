"""Array operations: convolution, linear algebra, gradient ordering."""
