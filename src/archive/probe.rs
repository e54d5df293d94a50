//! Trying a bucket out, step by step, for people.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use opendal::options::ListOptions;

use super::{ArchiveError, Bucket, Source, source::hex, upload::Label};

/// One thing tried.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done: `list`, `put`, `head`, `get`, `delete`.
    pub name: &'static str,
    pub took: Duration,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Done,
    Failed(ArchiveError),
    /// Not tried, because an earlier step failed.
    Skipped,
}

impl Bucket {
    /// Lists the bucket, then puts, looks up, gets and deletes a small object of a random name under the prefix. Never an error: what
    /// fails is in the steps.
    pub async fn probe(&self) -> Vec<Step> {
        let mut name = [0; 8];
        // Without randomness the name is that of the last probe without: it is overwritten.
        let _ = getrandom::fill(&mut name);
        let key = self.names.other(&format!("picgate-probe-{}.txt", hex(&name)));
        let text = format!("picgate tried this bucket out ({}). This object can be deleted.\n", hex(&name));

        let list = Step::of("list", self.list_one()).await;
        // A service that is not there is not asked again and again.
        if let Outcome::Failed(ArchiveError::Unreachable(_) | ArchiveError::Timeout(_)) = list.outcome {
            let skipped = ["put", "head", "get", "delete"].map(Step::skipped);
            return std::iter::once(list).chain(skipped).collect();
        }
        let label = Label { content_type: "text/plain", metadata: Default::default() };
        let source = Source::bytes(text.clone());
        let put = Step::of("put", self.put(&key, &source, label)).await;
        let (head, get) = match put.outcome {
            Outcome::Done => (
                Step::of("head", self.has_len(&key, text.len())).await,
                Step::of("get", self.get_same(&key, &text)).await,
            ),
            _ => (Step::skipped("head"), Step::skipped("get")),
        };
        // A put that failed may have left something all the same.
        let delete = Step::of("delete", self.remove(&key)).await;
        vec![list, put, head, get, delete]
    }

    async fn list_one(&self) -> Result<(), ArchiveError> {
        let options = ListOptions { recursive: true, limit: Some(1), ..ListOptions::default() };
        let mut lister = self.operator.lister_options(self.names.prefix(), options).await?;
        lister.next().await.transpose()?;
        Ok(())
    }

    async fn has_len(&self, key: &str, len: usize) -> Result<(), ArchiveError> {
        match self.operator.stat(key).await?.content_length() {
            found if found == len as u64 => Ok(()),
            found => Err(ArchiveError::Mismatch(format!("{found} bytes instead of {len}"))),
        }
    }

    async fn get_same(&self, key: &str, text: &str) -> Result<(), ArchiveError> {
        let found = self.get(key, None).await?.whole(text.len()).await?;
        if found == text { Ok(()) } else { Err(ArchiveError::Mismatch("other bytes".to_owned())) }
    }
}

// === impl Step ===

impl Step {
    async fn of(name: &'static str, work: impl Future<Output = Result<(), ArchiveError>>) -> Self {
        let since = Instant::now();
        let outcome = match work.await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error),
        };
        Self { name, took: since.elapsed(), outcome }
    }

    fn skipped(name: &'static str) -> Self {
        Self { name, took: Duration::ZERO, outcome: Outcome::Skipped }
    }

    /// Whether it went well.
    pub fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done)
    }
}

/// One line: the step, its time, and what to do if it failed.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, took) = (self.name, self.took.as_millis());
        match &self.outcome {
            Outcome::Done => write!(f, "{name:<8}ok ({took} ms)"),
            Outcome::Skipped => write!(f, "{name:<8}not tried"),
            Outcome::Failed(error) => {
                write!(f, "{name:<8}FAILED ({took} ms): {error}")?;
                advice(error).map_or(Ok(()), |advice| write!(f, "\n        {advice}"))
            }
        }
    }
}

/// What the operator may look at.
fn advice(error: &ArchiveError) -> Option<&'static str> {
    Some(match (error, error.code()) {
        (_, Some("NoSuchBucket")) => "Make the bucket first, or look at archive.bucket.",
        (_, Some("InvalidBucketName")) => "Look at archive.bucket: the service takes no such name.",
        (_, Some("InvalidAccessKeyId")) => "Look at archive.access_key_id: the service does not know it.",
        (_, Some("SignatureDoesNotMatch")) => "Look at archive.secret_access_key: it does not fit the access key id.",
        (_, Some("RequestTimeTooSkewed" | "RequestExpired")) => "Set this machine's clock.",
        (
            _,
            Some(
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
            ),
        ) => "Look at archive.region and archive.endpoint: the bucket is somewhere else.",
        (_, Some("EntityTooSmall" | "EntityTooLarge")) => "The service does not take an object of this size.",
        (ArchiveError::Denied(_), _) => {
            "The key may not do this: it needs to list, read, write and delete in this bucket."
        }
        (ArchiveError::Unreachable(_) | ArchiveError::Timeout(_), _) => {
            "Look at archive.endpoint, at name service and firewall, and at SSL_CERT_FILE if the certificate is your own."
        }
        (ArchiveError::Missing, _) => "Look at archive.endpoint: it is the service's address without the bucket.",
        (ArchiveError::Busy(_), _) => "The service has trouble now. Try again later.",
        (ArchiveError::Mismatch(_), _) => {
            "The service, or something between, changes what is sent. Do not archive to it."
        }
        (ArchiveError::Refused(said), _) if said.status.is_some_and(|status| (300..400).contains(&status)) => {
            "Look at archive.endpoint: it leads somewhere else. Redirects are not followed."
        }
        _ => return None,
    })
}
