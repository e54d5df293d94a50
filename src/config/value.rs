//! The words of single values: sizes, durations, addresses, URLs, networks.
//!
//! Every function takes what stands in the file (variables already in their places) and answers with the value, or
//! with what to write instead.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use url::Url;

pub(super) const SIZE_HINT: &str = "write 0, plain bytes, or a number with KiB, MiB or GiB";
pub(super) const DURATION_HINT: &str = "write 15s, 10m, 72h or 30d";

/// A century. Longer times overflow clocks and mean "never".
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `0`, `4096`, `512KiB`, `20MiB`, `10GiB`, `2TiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let wrong = || format!("is no size: {SIZE_HINT}");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(near_size(number, unit).unwrap_or_else(wrong)),
    };
    number.checked_mul(1 << shift).filter(|size| *size <= i64::MAX as u64).ok_or_else(|| "is too large a size".into())
}

/// `20MB`, `20M`, `20 mib`: which of the two kinds is meant is not for us to guess.
fn near_size(number: u64, unit: &str) -> Option<String> {
    let letter = unit.trim().chars().next()?.to_ascii_uppercase();
    let rest = unit.trim().get(1..)?.to_ascii_lowercase();
    let known = matches!(letter, 'K' | 'M' | 'G' | 'T') && matches!(rest.as_str(), "" | "b" | "i" | "ib");
    known.then(|| format!("is no size: write {number}{letter}iB"))
}

/// `500ms`, `15s`, `10m`, `72h`, `30d`. More than nothing and at most a century.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().map_err(|_| format!("is no duration: {DURATION_HINT}"))?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("has no unit: {DURATION_HINT}")),
        _ => return Err(format!("is no duration: {DURATION_HINT}")),
    };
    let duration = number.checked_mul(millis).map(Duration::from_millis).filter(|d| *d <= LONGEST);
    match duration {
        None => Err("is too long: 36500d is the most".into()),
        Some(Duration::ZERO) => Err(format!("is no time at all: {DURATION_HINT}")),
        Some(duration) => Ok(duration),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.0.0.0:5643`, `[::1]:5643`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is no address: write IP:PORT, such as 127.0.0.1:5643, 0.0.0.0:5643 or [::]:5643".into())
}

/// `10.0.0.0/8`, `fd00::/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc()).map_err(|_| "is no network: write it as 10.0.0.0/8, fd00::/8 or 192.168.1.20".into())
}

/// An `http` or `https` URL with a host, to which paths can be added: no credentials, no query, no fragment. A slash
/// at its end is dropped.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    const HINT: &str = "write http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";
    let mut url = Url::parse(text).map_err(|error| format!("is no URL ({error}): {HINT}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("is no http or https URL: {HINT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, which does not belong in a URL".into());
    }
    if url.query().is_some() {
        return Err("holds a query (`?…`), and paths are put behind it".into());
    }
    if url.fragment().is_some() {
        return Err("holds a fragment (`#…`), and paths are put behind it".into());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// What is put before every name in a bucket, as it is written. Refused is what some service, or a URL on the way to it,
/// would take for something else.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    /// Keys have 1024 bytes at most, and a name of ours has 45.
    const LONGEST: usize = 900;
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    if text.starts_with('/') || text.contains("//") {
        return Err("holds an empty folder name: write a/b/ without a slash at the start or two in a row".into());
    }
    if text.split('/').any(|name| name == "." || name == "..") {
        return Err("holds a folder named \".\" or \"..\"".into());
    }
    if text.trim() != text || text.contains(|c: char| c.is_control() || c == '\\') {
        return Err("holds a space at an end, a control character or a backslash".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512KiB", 512 << 10),
            ("20MiB", 20 << 20),
            ("10GiB", 10 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, hint) in [
            ("20MB", "is no size: write 20MiB"),
            ("20M", "is no size: write 20MiB"),
            ("20mib", "is no size: write 20MiB"),
            ("20 MiB", "is no size: write 20MiB"),
            ("1k", "is no size: write 1KiB"),
            ("1.5GiB", "is no size: write 0"),
            ("-1", "is no size: write 0"),
            ("", "is no size: write 0"),
            ("lots", "is no size: write 0"),
            ("5é", "is no size: write 0"),
            ("5Mé", "is no size: write 0"),
            ("99999999999GiB", "is too large"),
        ] {
            assert!(size(text).unwrap_err().starts_with(hint), "{text}: {:?}", size(text));
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("15s", 15.0), ("500ms", 0.5), ("10m", 600.0), ("72h", 259_200.0), ("30d", 2_592_000.0)]
        {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for (text, hint) in [
            ("72x", "is no duration: write 15s, 10m, 72h or 30d"),
            ("15", "has no unit: write 15s, 10m, 72h or 30d"),
            ("0s", "is no time at all"),
            ("-1s", "is no duration"),
            ("1h30m", "is no duration"),
            ("s", "is no duration"),
            ("36501d", "is too long"),
            ("99999999999999999999d", "is no duration"),
            ("9999999999999999999d", "is too long"),
        ] {
            assert!(duration(text).unwrap_err().starts_with(hint), "{text}: {:?}", duration(text));
        }
    }

    #[test]
    fn networks() {
        for (text, net) in [("10.1.2.3/8", "10.0.0.0/8"), ("192.168.1.20", "192.168.1.20/32"), ("fd00::/8", "fd00::/8")]
        {
            assert_eq!(network(text).unwrap().to_string(), net);
        }
        assert!(network("10.0.0.0/33").is_err());
        assert!(network("localhost").is_err());
    }

    #[test]
    fn base_urls() {
        for (text, url) in [
            ("http://localhost:5643", "http://localhost:5643/"),
            ("https://pics.example.org/", "https://pics.example.org/"),
            ("https://example.org/pics/", "https://example.org/pics"),
            ("https://example.org/pics//", "https://example.org/pics"),
            ("HTTPS://Example.ORG:443/v1", "https://example.org/v1"),
        ] {
            assert_eq!(base_url(text).unwrap().as_str(), url);
        }
        for (text, hint) in [
            ("localhost:5643", "is no http or https URL"),
            ("example.org", "is no URL"),
            ("ftp://example.org", "is no http or https URL"),
            ("http://", "is no URL"),
            ("https://u:p@example.org", "holds a user name"),
            ("https://example.org/?a=b", "holds a query"),
            ("https://example.org/#top", "holds a fragment"),
        ] {
            assert!(base_url(text).unwrap_err().starts_with(hint), "{text}: {:?}", base_url(text));
        }
    }

    #[test]
    fn prefixes() {
        for good in ["", "a", "a/", "a/b/", "openwebui/", "with space/x", "ü%41?#&/", ".a/..b/c.", &"a".repeat(900)] {
            assert_eq!(prefix(good), Ok(good.to_owned()), "{good}");
        }
        for bad in ["/", "/a", "a//b", "a//", "./", "a/../", "..", " a", "a ", "a\n/", "a\\b", &"a".repeat(901)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
