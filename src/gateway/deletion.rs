//! `DELETE /images/*`.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use pingora_core::Result as PingoraResult;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Ctx, Gateway, pictures::missing, respond};
use crate::{
    access::Client,
    error::{Code, Error, Result},
    images::path,
    tier::{Asker, Questions},
};

/// How long the archive is asked whether it has the picture.
const LOOKUP: Duration = Duration::from_secs(20);

impl Gateway {
    /// Deletes a picture for good: its file, its record and its variants now, its copies in the archive in the background.
    pub(super) async fn delete_picture(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        client: &Client,
    ) -> PingoraResult<()> {
        match self.delete(session.req_header(), client).await {
            Ok(()) => respond::head(session, ctx, StatusCode::NO_CONTENT, HeaderMap::new(), None, true).await,
            Err(error) => respond::error(session, ctx, &error).await,
        }
    }

    async fn delete(&self, request: &RequestHeader, client: &Client) -> Result<()> {
        if !client.may_delete {
            return Err(Error::new(
                Code::NotAllowed,
                "This key may not delete pictures. The operator can allow it with may_delete: true.",
            ));
        }
        let id = path::parse(request.uri.path()).ok_or_else(missing)?;
        // One that nobody has leaves no tombstone behind.
        let question = Questions::new(1, LOOKUP);
        if self.core.store.record(&id).await?.is_none()
            && self.core.tier.find(&id, Asker::Request(&question)).await?.is_none()
        {
            return Err(missing());
        }
        self.core.store.delete(id).await?;
        Ok(())
    }
}
