"""Control flow: loops and branches, each one node that holds the graphs of its bodies."""
