//! Reading pieces of a file at given places, several readers at once.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};

use super::{
    StoreError,
    error::{Doing, blocking},
};

/// Up to `most` bytes from `at` on; fewer at the end of the file.
pub(super) fn read_at(file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    // The buffer is not zeroed first: that was 4 % of serving a picture.
    let mut bytes = Vec::with_capacity(most);
    fill(file, at, most, &mut bytes)?;
    Ok(bytes)
}

/// Exactly `want` bytes from `at` on; where it may block, if the kernel does not have them in memory. The buffer is made
/// here, where it is freed too: so the many threads that read keep no memory of their own.
pub(super) async fn piece(file: Arc<File>, at: u64, want: usize, doing: &'static str) -> Result<Bytes, StoreError> {
    let mut bytes = at_hand(&file, at, want);
    if bytes.len() == want {
        return Ok(bytes.into());
    }
    blocking(move || {
        fill(&file, at, want, &mut bytes).doing(doing)?;
        whole(bytes, want).doing(doing)
    })
    .await
}

/// As many of `want` bytes as can be had without waiting for the disk: copying them takes less time than handing them to
/// another thread and back.
#[cfg(target_os = "linux")]
fn at_hand(file: &File, at: u64, want: usize) -> Vec<u8> {
    let mut bytes = vec![0; want];
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let read = rustix::io::preadv2(file, &mut buffers, at, rustix::io::ReadWriteFlags::NOWAIT);
    // Some file systems refuse to read without waiting.
    bytes.truncate(read.unwrap_or(0));
    bytes
}

#[cfg(not(target_os = "linux"))]
fn at_hand(_: &File, _: u64, want: usize) -> Vec<u8> {
    Vec::with_capacity(want)
}

/// Exactly `want` bytes from `at` on.
pub(super) fn read_exact_at(file: &File, at: u64, want: usize) -> io::Result<Bytes> {
    whole(read_at(file, at, want)?, want)
}

/// Fills a buffer that has room for `most` bytes.
fn fill(file: &File, at: u64, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    while bytes.len() < most {
        let next = at + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(bytes), next) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // An allocator may give more room than asked for, and it is filled.
    bytes.truncate(most);
    Ok(())
}

fn whole(bytes: Vec<u8>, want: usize) -> io::Result<Bytes> {
    if bytes.len() < want { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
}
