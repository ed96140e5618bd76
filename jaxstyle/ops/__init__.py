"""Array operations: convolution, matrix roots, the order of gradients."""
