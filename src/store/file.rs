//! Reading pieces of a file at given places, several readers at once.

use std::{fs::File, io};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};

/// Up to `most` bytes from `at` on; fewer at the end of the file.
pub(super) fn read_at(file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    // The buffer is not zeroed first: that was 4 % of serving a picture.
    let mut bytes = Vec::with_capacity(most);
    while bytes.len() < most {
        let next = at + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), next) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // An allocator may give more room than asked for, and it is filled.
    bytes.truncate(most);
    Ok(bytes)
}

/// Exactly `want` bytes from `at` on.
pub(super) fn read_exact_at(file: &File, at: u64, want: usize) -> io::Result<Bytes> {
    let bytes = read_at(file, at, want)?;
    if bytes.len() < want { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
}
