//! Where the bytes of an object to be sent come from.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, stream};
use md5::Md5;
use sha2::Sha256;
use tokio::task::spawn_blocking;

use super::ArchiveError;

use crate::opaque::opaque;

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;

/// Bytes that can be read more than once: an attempt reads them twice, first for the checksums that stand in the header,
/// then to send them. Cloning is cheap.
#[derive(Clone)]
pub struct Source {
    from: Origin,
    len: u64,
}

opaque!(Source { len });

#[derive(Clone)]
enum Origin {
    File(Arc<File>),
    Memory(Bytes),
}

/// Checksums of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) len: u64,
    /// In hex.
    pub(super) sha256: String,
    /// As the header `Content-MD5` wants it.
    pub(super) content_md5: String,
    /// As a service that goes by S3's rule writes it, without quotes: the MD5 of what was sent in one piece; for parts
    /// the MD5 of their MD5s and their number.
    pub(super) etag: String,
}

// === impl Source ===

impl Source {
    /// The first `len` bytes of a file. Its position is not used.
    pub fn file(file: Arc<File>, len: u64) -> Self {
        Self { from: Origin::File(file), len }
    }

    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { len: bytes.len() as u64, from: Origin::Memory(bytes) }
    }

    /// Its bytes in pieces of at most 256 KiB. A file shorter than it was said to be is an error.
    pub(super) fn pieces(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
        stream::try_unfold((self.clone(), 0), |(source, at)| async move {
            if at >= source.len {
                return Ok(None);
            }
            let piece = source.piece(at).await?;
            let next = at + piece.len() as u64;
            Ok(Some((piece, (source, next))))
        })
    }

    async fn piece(&self, at: u64) -> io::Result<Bytes> {
        let source = self.clone();
        match &self.from {
            Origin::Memory(_) => source.read(at),
            Origin::File(_) => spawn_blocking(move || source.read(at)).await.map_err(io::Error::other)?,
        }
    }

    /// The piece that begins here. Blocks.
    fn read(&self, at: u64) -> io::Result<Bytes> {
        let want = usize::try_from(self.len.saturating_sub(at)).map_or(PIECE, |left| left.min(PIECE));
        match &self.from {
            Origin::Memory(bytes) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                Ok(bytes.slice(at..at + want))
            }
            Origin::File(file) => {
                let mut piece = vec![0; want];
                file.read_exact_at(&mut piece, at)?;
                Ok(piece.into())
            }
        }
    }

    /// Reads it once. What is longer than `whole` counts as sent in parts of `part` bytes.
    pub(super) async fn digest(&self, whole: u64, part: u64) -> Result<Digest, ArchiveError> {
        let source = self.clone();
        let part = if source.len > whole { part } else { u64::MAX };
        spawn_blocking(move || source.digest_blocking(part))
            .await
            .map_err(io::Error::other)
            .and_then(|digest| digest)
            .map_err(|error| ArchiveError::Local(Arc::new(error)))
    }

    fn digest_blocking(&self, part: u64) -> io::Result<Digest> {
        use md5::Digest as _;
        let (mut all, mut md5, mut parts) = (Checksums::default(), Md5::new(), Vec::new());
        let (mut at, mut left) = (0, part);
        while at < self.len {
            let mut piece = self.read(at)?;
            at += piece.len() as u64;
            all.update(&piece);
            while !piece.is_empty() {
                let fits = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
                let of_part = piece.split_to(fits);
                md5.update(&of_part);
                left -= of_part.len() as u64;
                if left == 0 {
                    parts.push(md5.finalize_reset());
                    left = part;
                }
            }
        }
        if left < part {
            parts.push(md5.finalize_reset());
        }
        let (sha256, whole) = all.finish();
        let etag = match part {
            u64::MAX => hex(&whole),
            _ => format!("{}-{}", hex(&Md5::digest(parts.concat())), parts.len()),
        };
        Ok(Digest { len: self.len, sha256, content_md5: STANDARD.encode(whole), etag })
    }
}

/// Two at once.
#[derive(Default)]
struct Checksums {
    sha256: Sha256,
    md5: Md5,
}

impl Checksums {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.sha256, bytes);
        md5::Digest::update(&mut self.md5, bytes);
    }

    /// SHA-256 in hex, and MD5.
    fn finish(self) -> (String, Vec<u8>) {
        (hex(&sha2::Digest::finalize(self.sha256)), md5::Digest::finalize(self.md5).to_vec())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures_util::TryStreamExt as _;

    use super::*;

    fn both(bytes: &[u8]) -> [Source; 2] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        [Source::bytes(bytes.to_vec()), Source::file(Arc::new(file), bytes.len() as u64)]
    }

    #[tokio::test]
    async fn a_source_gives_its_bytes_every_time() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            for source in both(&bytes) {
                for _ in 0..2 {
                    let pieces: Vec<Bytes> = source.pieces().try_collect().await.unwrap();
                    assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
                    assert_eq!(pieces.concat(), bytes);
                }
            }
        }
    }

    #[tokio::test]
    async fn checksums_are_those_of_the_whole_and_of_the_parts() {
        for source in both(b"abc") {
            let digest = source.digest(3, 2).await.unwrap();
            assert_eq!(digest.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
            assert_eq!(digest.content_md5, "kAFQmDzST7DWlj99KOF/cg==");
            assert_eq!(digest.etag, "900150983cd24fb0d6963f7d28e17f72");
            // Parts "ab" and "c": `md5(md5("ab") + md5("c"))`.
            let digest = source.digest(2, 2).await.unwrap();
            assert_eq!(digest.etag, "d833159094d1d7ad96ffcc78414e3682-2");
            assert_eq!(source.digest(2, 1).await.unwrap().etag.split_once('-').unwrap().1, "3");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_told() {
        let [_, source] = both(b"abc");
        let Origin::File(file) = source.from else { panic!() };
        let source = Source::file(file, 4);
        assert!(matches!(source.digest(10, 10).await, Err(ArchiveError::Local(_))));
        assert!(source.pieces().try_collect::<Vec<_>>().await.is_err());
    }
}
