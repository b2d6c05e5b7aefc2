//! Small rule sets and requests: what each action, variable and phase does.
