"""The compiler: functions traced into graphs, graphs into programs of machine code."""
