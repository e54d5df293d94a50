//! Sending an object, and making sure that it arrived.
//!
//! Up to [`Limits::whole`] it goes in one PUT with its length and its `Content-MD5`, read from the file as it is sent.
//! What is longer goes in parts of [`Limits::part`] bytes, equal but for the last, as R2 wants them; a part is in memory
//! while it is sent.
//!
//! **Verification.** Sent is not archived. Then HEAD is asked, and the size must be right. If the ETag is the one S3's
//! rule gives for these bytes, the service has computed it from what it keeps, and that is proof. Services are free to
//! have other ETags (KMS encryption on AWS, some gateways): then the object is read back and its SHA-256 compared. So a
//! strange ETag costs a download, never a picture, and never a false "archived".

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, Request};
use opendal::options::WriteOptions;
use sha2::{Digest as _, Sha256};

use super::{
    ArchiveError, Bucket,
    source::{Digest, Source, hex},
};

/// How long the signature of a request that is sent at once holds. Clocks may differ by some minutes.
pub(super) const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// What an object is stored with.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) content_type: &'static str,
    /// `x-amz-meta-*`: lower-case names, values of printable ASCII.
    pub(super) metadata: HashMap<String, String>,
}

impl Bucket {
    pub(super) async fn put(&self, key: &str, source: &Source, mut label: Label) -> Result<(), ArchiveError> {
        let digest = source.digest(self.limits.whole, self.limits.part).await?;
        label.metadata.insert("sha256".to_owned(), digest.sha256.clone());
        if digest.len > self.limits.whole {
            self.put_parts(key, source, label).await?;
        } else {
            self.put_whole(key, source, label, &digest).await?;
        }
        self.verify(key, &digest).await
    }

    async fn put_whole(&self, key: &str, source: &Source, label: Label, digest: &Digest) -> Result<(), ArchiveError> {
        let signed = self.operator.presign_write_options(key, SIGNED_FOR, label.options()).await?;
        let md5 = HeaderValue::try_from(&digest.content_md5).map_err(|_| ArchiveError::refused("no header"))?;
        let mut request = Request::new(source.pieces());
        *request.method_mut() = signed.method().clone();
        *request.uri_mut() = signed.uri().clone();
        *request.headers_mut() = signed.header().clone();
        request.headers_mut().insert("content-md5", md5);
        // Read to its end, or the connection is not used again.
        self.wire.send(request, digest.len).await?.whole().await?;
        Ok(())
    }

    async fn put_parts(&self, key: &str, source: &Source, label: Label) -> Result<(), ArchiveError> {
        let part = usize::try_from(self.limits.part).unwrap_or(usize::MAX);
        let options = WriteOptions { chunk: Some(part), concurrent: 1, ..label.options() };
        let mut writer = self.operator.writer_options(key, options).await?;
        let mut pieces = source.pieces().boxed();
        let sent: Result<(), ArchiveError> = async {
            while let Some(piece) = pieces.try_next().await.map_err(local)? {
                writer.write(piece).await?;
            }
            writer.close().await?;
            Ok(())
        }
        .await;
        if sent.is_err() {
            // Parts that stay behind cost money until the bucket's own rule removes them.
            if let Err(error) = writer.abort().await {
                log::debug!("archive: an upload in parts could not be taken back: {}", ArchiveError::from(error));
            }
        }
        sent
    }

    /// Makes sure that the object is what was sent.
    async fn verify(&self, key: &str, sent: &Digest) -> Result<(), ArchiveError> {
        let found = self.operator.stat(key).await.map_err(|error| match error.into() {
            ArchiveError::Missing => ArchiveError::Mismatch("it is not there".to_owned()),
            error => error,
        })?;
        if found.content_length() != sent.len {
            let found = found.content_length();
            return Err(ArchiveError::Mismatch(format!("{found} bytes instead of {}", sent.len)));
        }
        if found.etag().is_some_and(|etag| etag.trim_matches('"').eq_ignore_ascii_case(&sent.etag)) {
            return Ok(());
        }
        let mut download = self.get(key, None).await?;
        let mut sha256 = Sha256::new();
        while let Some(piece) = download.piece().await? {
            sha256.update(&piece);
        }
        match hex(&sha256.finalize()) == sent.sha256 {
            true => Ok(()),
            false => Err(ArchiveError::Mismatch("other bytes".to_owned())),
        }
    }
}

impl Label {
    fn options(self) -> WriteOptions {
        WriteOptions {
            content_type: Some(self.content_type.to_owned()),
            user_metadata: Some(self.metadata),
            ..WriteOptions::default()
        }
    }
}

fn local(error: io::Error) -> ArchiveError {
    ArchiveError::Local(Arc::new(error))
}
