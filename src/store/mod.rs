//! Keeps pictures: blobs, records, the derived index.
