"""The commands: one module for each, and ``main`` that finds them.

A command's module has two functions: ``arguments(parser)``, which declares what it
takes, and ``run(args)``, which does it and answers the exit code. What only some
uses of a command need is imported inside it: the start of a command is something
that people, probes and scripts wait for.
"""
