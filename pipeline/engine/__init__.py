"""The engine: settings, plan, execution. Knows no terminal and draws nothing."""
