"""Between the eras: a backend that speaks one of them is used by callers of the other."""
