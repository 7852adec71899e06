"""The numerics beneath the losses: nothing here knows an argument of a public name."""
