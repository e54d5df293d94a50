//! What the HTTP clients for image hosts and for the bucket have in common: the certificate authorities those may be vouched
//! for by (the system's, and those in `SSL_CERT_FILE`), and that they do nothing unasked.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Where systems keep their bundle; the first that exists is the system's.
const BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch, Gentoo, NixOS
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",   // older RHEL, Amazon Linux
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/pki/tls/cacert.pem",            // OpenELEC
    "/usr/local/etc/ssl/cert.pem",        // FreeBSD
    "/etc/ssl/cert.pem",                  // Alpine, macOS, BSDs
];

/// The system's authorities and those in `SSL_CERT_FILE`, both: as with OpenSSL, the variable does not make the system's
/// own directory untrusted. (`rustls-native-certs`, which `rustls-platform-verifier` uses, takes one or the other.)
///
/// A file that cannot be read is logged and left out: without it `https` connections fail one by one, and that is no
/// reason not to start.
pub(crate) fn roots() -> RootCertStore {
    let own = env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
    let system = BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    let mut files = Vec::new();
    for file in own.into_iter().chain(system) {
        let file = file.canonicalize().unwrap_or(file);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let roots = load(&files);
    if roots.is_empty() {
        log::warn!("trust: no certificate authorities found; nothing can be reached over https");
    }
    roots
}

/// An HTTP/1.1 client for whom these authorities vouch for. It follows no redirect, asks no proxy and decodes nothing: some
/// crate in the tree may switch a decoder on, and an inflated answer would pass the limits.
pub(crate) fn client(roots: RootCertStore) -> Result<reqwest::ClientBuilder, rustls::Error> {
    Ok(reqwest::Client::builder()
        .user_agent(concat!("picgate/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(http1(roots)?)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd())
}

/// TLS 1.2 or 1.3 with ring.
fn http1(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The authorities in these PEM files.
fn load(files: &[impl AsRef<Path>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for file in files.iter().map(AsRef::as_ref) {
        match fs::read(file) {
            Ok(pem) => {
                let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
                let (added, ignored) = roots.add_parsable_certificates(certificates);
                log::debug!("trust: {added} certificate authorities from {}, {ignored} ignored", file.display());
            }
            Err(error) => log::warn!("trust: certificate authorities in {}: {error}", file.display()),
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_every_file_are_trusted_and_missing_files_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["a.pem", "b.pem"].iter().map(|name| dir.path().join(name)).collect();
        for file in &files {
            let certificate = rcgen::generate_simple_self_signed(["example.test".to_owned()]).unwrap();
            fs::write(file, format!("a comment\n{}", certificate.cert.pem())).unwrap();
        }
        assert_eq!(load(&files).len(), 2);
        let broken = dir.path().join("broken.pem");
        fs::write(&broken, "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(load(&[files[0].clone(), dir.path().join("absent"), dir.path().to_owned(), broken]).len(), 1);
    }
}
