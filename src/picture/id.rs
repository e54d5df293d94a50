//! The name of a picture: a hash of its bytes.

use std::{fmt, str::FromStr};

/// Bytes of BLAKE3 output kept: 160 bits, so a collision needs about 2^80 pictures.
const LEN: usize = 20;

/// The content name of a picture: the first 160 bits of the BLAKE3 hash of its bytes, written as 40 lower-case hex
/// digits.
///
/// Equal bytes have equal names, so a picture is one file however often it is made, its URL never changes, and the
/// name serves as a strong ETag.
///
/// ```
/// use picgate::picture::PictureId;
///
/// let id = PictureId::of(b"bytes of a picture");
/// assert_eq!(id.to_string().len(), 40);
/// assert_eq!(id.to_string().parse::<PictureId>().unwrap(), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureId([u8; LEN]);

/// Computes a [`PictureId`] from bytes that arrive piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher(blake3::Hasher);

/// The text is not 40 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a picture id: 40 lower-case hex digits expected")]
pub struct InvalidId;

impl PictureId {
    /// Length of the written form, in characters.
    pub const TEXT_LEN: usize = LEN * 2;

    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The raw 20 bytes, e.g. as an index key.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// The id with these raw bytes.
    pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }

    /// The name of the folder it lies in: its first two hex digits.
    pub fn shard(&self) -> String {
        format!("{:02x}", self.0[0])
    }
}

// === impl Hasher ===

impl Hasher {
    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of everything taken in so far.
    pub fn finish(&self) -> PictureId {
        let mut id = [0; LEN];
        self.0.finalize_xof().fill(&mut id);
        PictureId(id)
    }
}

// === impl PictureId ===

impl fmt::Display for PictureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PictureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PictureId({self})")
    }
}

impl FromStr for PictureId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.as_bytes();
        if digits.len() != Self::TEXT_LEN {
            return Err(InvalidId);
        }
        let mut id = [0; LEN];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = match pair {
                [high, low] => nibble(*high)? << 4 | nibble(*low)?,
                _ => return Err(InvalidId),
            };
        }
        Ok(Self(id))
    }
}

fn nibble(digit: u8) -> Result<u8, InvalidId> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_id_of_the_whole() {
        let mut hasher = Hasher::default();
        hasher.update(b"ab");
        hasher.update(b"");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), PictureId::of(b"abc"));
        assert_ne!(hasher.finish(), PictureId::of(b"abd"));
    }

    #[test]
    fn only_forty_lower_case_hex_digits_are_an_id() {
        let id = PictureId::of(b"x").to_string();
        assert!(id.parse::<PictureId>().is_ok());
        for bad in ["", "abc", &id.to_uppercase(), &format!("{id}0"), &id.replace(&id[..1], "/"), &"é".repeat(20)] {
            assert_eq!(bad.parse::<PictureId>(), Err(InvalidId), "{bad}");
        }
    }
}
