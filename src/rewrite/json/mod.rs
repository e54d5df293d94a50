//! JSON on bytes that arrive piece by piece (RFC 8259).
//!
//! [`Lexer`] says what every byte is, without building values; [`Path`] says where in the document it stands.

mod lexer;
mod path;
mod string;

pub use lexer::{Container, Invalid, Lexer, Token};
pub use path::{Name, Path, Step, without_case};
pub use string::unescape;
