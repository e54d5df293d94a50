//! A request's body, read once.

use super::ApiRoute;
use crate::{
    error::{Code, Error, Result},
    opaque::opaque,
    rewrite::{
        multipart::MultipartScanner,
        request::{Findings, RequestScanner, ScanError},
    },
    store::{Spool, SpoolReader},
};

/// Takes a body in: to memory while it is small, to disk when it is not, and past a scanner.
pub struct Intake {
    spool: Spool,
    scanner: Scanner,
    limit: u64,
}

opaque!(Intake { limit });

enum Scanner {
    Json(Box<RequestScanner>),
    Multipart(Box<MultipartScanner>),
}

/// A body that has come completely, and what stands in it.
pub struct Received {
    pub(super) body: SpoolReader,
    pub(super) findings: Findings,
    /// Fields are bare text, not JSON strings.
    pub(super) multipart: bool,
}

opaque!(Received { multipart });

impl Intake {
    /// `limit`: most bytes taken.
    ///
    /// # Errors
    /// When the route does not take this type of body.
    pub fn new(route: ApiRoute, content_type: Option<&str>, spool: Spool, limit: u64) -> Result<Self> {
        let kind = content_type.unwrap_or("application/json");
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let scanner = match essence.as_str() {
            "multipart/form-data" if route.takes_multipart() => {
                Scanner::Multipart(Box::new(MultipartScanner::new(kind).map_err(refused)?))
            }
            // Some clients send JSON as text/plain.
            "application/json" | "text/plain" | "" => {
                Scanner::Json(Box::new(RequestScanner::new(route.request_rules())))
            }
            _ => {
                let takes = if route.takes_multipart() {
                    "multipart/form-data or application/json"
                } else {
                    "application/json"
                };
                return Err(Error::new(
                    Code::UnsupportedMediaType,
                    format!("This endpoint takes {takes}: the Content-Type header must say so."),
                ));
            }
        };
        Ok(Self { spool, scanner, limit })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the body is too long or cannot be used; nothing more need be read.
    pub async fn push(&mut self, piece: &[u8]) -> Result<()> {
        if self.spool.written() + piece.len() as u64 > self.limit {
            return Err(too_large(self.limit));
        }
        match &mut self.scanner {
            Scanner::Json(scanner) => scanner.push(piece),
            Scanner::Multipart(scanner) => scanner.push(piece),
        }
        .map_err(refused)?;
        Ok(self.spool.write(piece).await?)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it is not complete.
    pub async fn finish(self) -> Result<Received> {
        let multipart = matches!(self.scanner, Scanner::Multipart(_));
        let findings = match self.scanner {
            Scanner::Json(scanner) => scanner.finish(),
            Scanner::Multipart(scanner) => scanner.finish(),
        }
        .map_err(refused)?;
        Ok(Received { body: self.spool.freeze().await?, findings, multipart })
    }
}

/// The answer to a body over the limit.
pub(crate) fn too_large(limit: u64) -> Error {
    Error::new(Code::RequestTooLarge, format!("The request body is larger than {limit} bytes, this gateway's limit."))
}

fn refused(error: ScanError) -> Error {
    let message = format!("{error}.");
    match error {
        ScanError::Invalid(_) => Error::new(Code::InvalidJson, message),
        ScanError::Multipart(_) => Error::new(Code::InvalidMultipart, message),
        ScanError::Repeated(field) | ScanError::AnotherCase(field) | ScanError::WrongType { field, .. } => {
            Error::new(Code::InvalidRequest, message).param(field)
        }
        ScanError::NotAnObject | ScanError::TooManyPictures | ScanError::UrlsTooLong => {
            Error::new(Code::InvalidRequest, message)
        }
    }
}
