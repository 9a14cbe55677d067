"""One file a command of ``handeye``; each has ``run(argv)`` and returns what ``--json`` writes."""
