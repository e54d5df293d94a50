//! Pingora's side: listeners, phases, routes; turns errors into answers.
