//! The characters of a JSON string, behind its escapes.

/// Stands for every character that is not ASCII: no markup is made of them.
const OTHER: u8 = 0x80;

/// One character, or one byte of a longer one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Char<'a> {
    /// What it stands for.
    pub(super) ascii: u8,
    /// How it is written.
    pub(super) raw: &'a [u8],
    /// Where in the body.
    pub(super) start: u64,
}

impl Char<'_> {
    /// The place behind it.
    pub(super) fn end(&self) -> u64 {
        self.start + self.raw.len() as u64
    }
}

/// The first character of `raw` (with no place yet), and what is behind it. `None` at the end.
pub(super) fn chars(raw: &[u8]) -> Option<(Char<'_>, &[u8])> {
    let (ascii, len) = match raw {
        [] => return None,
        [b'\\', b'u', digits @ ..] => {
            let value = digits.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = value.and_then(|digits| u16::from_str_radix(digits, 16).ok());
            (value.and_then(|value| u8::try_from(value).ok()).filter(u8::is_ascii).unwrap_or(OTHER), 6)
        }
        [b'\\', escaped, ..] => {
            let ascii = match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 0x08,
                b'f' => 0x0c,
                itself => *itself,
            };
            (ascii, 2)
        }
        [byte, ..] if byte.is_ascii() => (*byte, 1),
        _ => (OTHER, 1),
    };
    let (raw, behind) = raw.split_at(len.min(raw.len()));
    Some((Char { ascii, raw, start: 0 }, behind))
}
