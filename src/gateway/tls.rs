//! Certificates and keys of our own listeners.
//!
//! Pingora would read the files inside a service, and panic there over what is wrong with them. Here they are read and
//! tried before anything starts, and Pingora gets the result.

use std::{fs, path::Path, sync::Arc};

use pingora_core::{ErrorType, listeners::tls::TlsSettings};
use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::config::Tls;

/// Reads a pair, and sees that both are whole and belong together.
///
/// # Errors
/// Everything that is wrong, each beginning with the setting (`cert`, `key`).
pub fn load(tls: &Tls) -> Result<Arc<CertifiedKey>, Vec<String>> {
    let chain = chain(&tls.cert).map_err(|why| format!("cert: {}: {why}", tls.cert.display()));
    let key = key(&tls.key).map_err(|why| format!("key: {}: {why}", tls.key.display()));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let wrong = |why: &str| vec![format!("key: {}: {why}", tls.key.display())];
    let key = ring::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| wrong("is none of the keys that can be used: RSA, ECDSA on P-256 or P-384, Ed25519"))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(_) => Err(wrong(&format!("does not belong to the first certificate in {}", tls.cert.display()))),
    }
}

/// The pair as Pingora takes it.
pub(super) fn settings(tls: &Tls) -> pingora_core::Result<TlsSettings> {
    let pair = load(tls)
        .map_err(|wrong| pingora_core::Error::explain(ErrorType::InvalidCert, format!("tls: {}", wrong.join("; "))))?;
    let mut settings = TlsSettings::intermediate("", "")?;
    settings.set_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    if tls.h2 {
        settings.enable_h2();
    }
    Ok(settings)
}

/// Reads certificates of authorities.
///
/// # Errors
/// When one of them cannot be used.
pub(super) fn authorities(path: &Path) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for authority in chain(path).map_err(|why| format!("{}: {why}", path.display()))? {
        roots.add(authority).map_err(|_| format!("{}: a certificate in it is no authority's", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot be read: {error}"))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let mut chain = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&text)) {
        let damaged = || format!("certificate {number} in it is damaged");
        let certificate = certificate.map_err(|_| damaged())?;
        ParsedCertificate::try_from(&certificate).map_err(|_| damaged())?;
        chain.push(certificate);
    }
    if chain.is_empty() {
        return Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(chain)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    // What the reader says of a damaged file may quote it.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        if memchr::memmem::find(&text, b"ENCRYPTED").is_some() {
            "is encrypted, and there is nobody to ask for its passphrase: decrypt it with `openssl pkey`, and let only \
             picgate's user read the result"
                .to_owned()
        } else {
            "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression 10.13: every pair that cannot work is told before a socket is taken.
    #[test]
    fn a_pair_that_cannot_work_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let damaged = cert.replace("MII", "AAA");
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let legacy = key.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n");
        let strange = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
        let fits_not = other.signing_key.serialize_pem();
        let garbage = "garbage".to_owned();
        let none: &[&str] = &[];
        for (cert, key, wanted) in [
            (Some(&cert), Some(&key), none),
            (Some(&format!("{cert}{}", other.cert.pem())), Some(&key), none),
            (Some(&cert), Some(&fits_not), &["key: ", "does not belong to the first certificate"]),
            (Some(&garbage), Some(&key), &["cert: ", "holds no certificate"]),
            (Some(&damaged), Some(&key), &["cert: ", "certificate 1 in it is damaged"]),
            (Some(&format!("{cert}{damaged}")), Some(&key), &["cert: ", "certificate 2 in it is damaged"]),
            (Some(&cert), Some(&garbage), &["key: ", "holds no private key"]),
            (Some(&cert), Some(&encrypted), &["key: ", "is encrypted"]),
            (Some(&cert), Some(&legacy), &["key: ", "is encrypted"]),
            (Some(&cert), Some(&strange), &["key: ", "none of the keys that can be used"]),
            (Some(&key), Some(&cert), &["cert: ", "holds no certificate", "key: ", "holds no private key"]),
            (None, None, &["cert: ", "key: ", "cannot be read"]),
        ] {
            let file = |name: &str, text: Option<&String>| {
                let path = dir.path().join(name);
                let _ = fs::remove_file(&path);
                if let Some(text) = text {
                    fs::write(&path, text).unwrap();
                }
                path
            };
            let tls = Tls { cert: file("cert.pem", cert), key: file("key.pem", key), h2: true };
            let told = load(&tls).err().unwrap_or_default().join("\n");
            assert_eq!(told.is_empty(), wanted.is_empty(), "{told}");
            assert!(wanted.iter().all(|word| told.contains(word)), "{wanted:?} in {told}");
            assert!(!told.contains("BEGIN RSA") && !told.contains("MII"), "{told}");
            assert_eq!(settings(&tls).is_ok(), wanted.is_empty());
        }
    }
}
