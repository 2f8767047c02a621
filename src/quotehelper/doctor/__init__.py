"""Why does quoting not work: one check, one cause, one remedy; a pure judgement of facts that a shell reads."""
