//! `/images/*`: what to answer to a reader of a picture. No I/O, no Pingora.
