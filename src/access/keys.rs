//! Client keys.
//!
//! Only hashes are held. A presented key is hashed and looked up by its hash, so how long a check takes says nothing
//! about how much of a key was right; the final comparison is constant in time as well.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    config::{Key, ResponseForm},
    error::{Code, Error, Result},
};

/// Random bytes in a key we make: 192 bits.
const KEY_BYTES: usize = 24;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub name: String,
    /// In which form this client gets its pictures on the image routes.
    pub images: Option<ResponseForm>,
    /// Also when the request names another form.
    pub images_force: bool,
    /// Whether it may delete pictures.
    pub may_delete: bool,
}

/// All keys that are valid now.
#[derive(Debug, Default)]
pub struct Keys {
    by_hash: HashMap<[u8; 32], Arc<Client>>,
}

/// A key as it lies in `state/keys.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredKey {
    pub name: String,
    /// BLAKE3 of the key, in hex. Keys we make are random, so no slow hash is needed.
    pub hash: String,
}

impl StoredKey {
    /// The stored form of a key.
    pub fn of(name: &str, key: &str) -> Self {
        Self { name: name.to_owned(), hash: blake3::hash(key.as_bytes()).to_hex().to_string() }
    }
}

impl Keys {
    /// The keys of the configuration and the stored ones.
    pub fn new(configured: &[Key], stored: &[StoredKey]) -> Self {
        let configured = configured.iter().map(|key| {
            let Key { name, images, images_force, may_delete, .. } = key;
            let client =
                Client { name: name.clone(), images: *images, images_force: *images_force, may_delete: *may_delete };
            (*blake3::hash(key.key.expose().as_bytes()).as_bytes(), Arc::new(client))
        });
        let stored = stored.iter().filter_map(|key| {
            let hash = blake3::Hash::from_hex(&key.hash).ok()?;
            let client = Client { name: key.name.clone(), images: None, images_force: false, may_delete: false };
            Some((*hash.as_bytes(), Arc::new(client)))
        });
        Self { by_hash: stored.chain(configured).collect() }
    }

    /// Whether nobody can come in.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Who sent a request with these headers: `Authorization: Bearer …`, or `api-key` / `x-api-key` as Azure's and other
    /// SDKs send it.
    ///
    /// # Errors
    /// [`Code::InvalidApiKey`] without a key, or with one that is none of ours.
    pub fn check(&self, headers: &HeaderMap) -> Result<Arc<Client>> {
        let key = presented(headers).ok_or_else(|| {
            Error::new(
                Code::InvalidApiKey,
                "You didn't provide an API key. Send a key of this gateway in an Authorization header: Bearer YOUR_KEY.",
            )
        })?;
        let hash = *blake3::hash(key).as_bytes();
        match self.by_hash.get_key_value(&hash) {
            Some((known, client)) if bool::from(known.ct_eq(&hash)) => Ok(Arc::clone(client)),
            _ => Err(Error::new(
                Code::InvalidApiKey,
                "Incorrect API key provided. This gateway has keys of its own: an upstream provider's key does not work here.",
            )),
        }
    }
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii()).filter(|key| !key.is_empty());
    }
    let key = headers.get("api-key").or_else(|| headers.get("x-api-key"))?;
    Some(key.as_bytes().trim_ascii()).filter(|key| !key.is_empty())
}

/// A new key (`pg-` and 48 hex digits), and what to store of it.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_key(name: &str) -> std::io::Result<(String, StoredKey)> {
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("pg-{digits}");
    let stored = StoredKey::of(name, &key);
    Ok((key, stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_key_opens_and_everything_else_does_not() {
        let (made, stored) = new_key("made").unwrap();
        let configured = Key {
            name: "file".into(),
            key: Secret::new("sk-file"),
            images: Some(ResponseForm::Both),
            images_force: true,
            may_delete: false,
        };
        let keys = Keys::new(&[configured], std::slice::from_ref(&stored));
        assert!(!stored.hash.contains(&made[3..]));
        let check = |name: &str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            keys.check(&headers).map(|client| client.name.clone()).map_err(|error| error.code())
        };
        assert_eq!(check("authorization", "Bearer sk-file"), Ok("file".into()));
        assert_eq!(check("authorization", &format!("bearer  {made} ")), Ok("made".into()));
        assert_eq!(check("api-key", "sk-file"), Ok("file".into()));
        assert_eq!(check("x-api-key", &made), Ok("made".into()));
        for (name, value) in [
            ("authorization", "Bearer sk-fil"),
            ("authorization", "Bearer sk-filee"),
            ("authorization", "Bearer "),
            ("authorization", "Basic sk-file"),
            ("authorization", "sk-file"),
            ("api-key", ""),
            ("x-other", "sk-file"),
        ] {
            assert_eq!(check(name, value), Err(Code::InvalidApiKey), "{name}: {value}");
        }
        assert!(Keys::default().check(&HeaderMap::new()).is_err());
    }
}
