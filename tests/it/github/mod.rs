//! What GitHub sees, and what it is protected from.

mod hostile;
