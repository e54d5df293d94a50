//! Which addresses may be connected to. Pure: addresses in, verdicts out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config;

/// The rules of `fetch.allow` and `fetch.ports`.
#[derive(Debug)]
pub(super) struct Guard {
    allow: Vec<IpNet>,
    ports: Vec<u16>,
}

/// What is known of a port before the address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// One of `fetch.ports`: public addresses may be reached on it.
    Usual,
    /// Any other: only addresses in `fetch.allow` may.
    Other,
}

/// None of the addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address refused")]
pub(super) struct Blocked;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// In `fetch.allow`.
    Listed,
    /// Reachable for everyone on the internet.
    Public,
    Refused,
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(config: &config::Fetch) -> Self {
        Self { allow: config.allow.clone(), ports: config.ports.clone() }
    }

    pub(super) fn port(&self, port: u16) -> Port {
        if self.ports.contains(&port) { Port::Usual } else { Port::Other }
    }

    /// Whether any address at all can be reached on this kind of port.
    pub(super) fn may_open(&self, port: Port) -> bool {
        port == Port::Usual || !self.allow.is_empty()
    }

    /// Those addresses of one host that may be connected to, in their order.
    ///
    /// A host with addresses in `fetch.allow` is reached there and nowhere else, so `localhost` works with 127.0.0.0/8
    /// listed although it is also `::1`. Otherwise every address must be public: a name that mixes public and private
    /// ones is a trick, not a host.
    pub(super) fn screen(&self, mut addresses: Vec<IpAddr>, port: Port) -> Result<Vec<IpAddr>, Blocked> {
        let is = |address: &IpAddr, verdict| self.verdict(*address) == verdict;
        if addresses.iter().any(|address| is(address, Verdict::Listed)) {
            addresses.retain(|address| is(address, Verdict::Listed));
            return Ok(addresses);
        }
        let public = !addresses.is_empty() && addresses.iter().all(|address| is(address, Verdict::Public));
        if public && port == Port::Usual { Ok(addresses) } else { Err(Blocked) }
    }

    fn verdict(&self, address: IpAddr) -> Verdict {
        let (first, second) = destinations(address);
        let listed = |ip: IpAddr| self.allow.iter().any(|net| net.contains(&ip));
        let all = |test: &dyn Fn(IpAddr) -> bool| test(first) && second.is_none_or(test);
        if all(&listed) {
            Verdict::Listed
        } else if all(&|ip| listed(ip) || is_public(ip)) {
            Verdict::Public
        } else {
            Verdict::Refused
        }
    }
}

/// The addresses a packet to `address` may end up at: the IPv4 address inside an IPv6 one where there is such a form,
/// and a second one where the form names two.
fn destinations(address: IpAddr) -> (IpAddr, Option<IpAddr>) {
    let IpAddr::V6(v6) = address else { return (address, None) };
    match v6.segments() {
        // `::` and `::1` have the shape of an IPv4-compatible address but are none (RFC 4291, 2.5.2 and 2.5.3).
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => (address, None),
        // IPv4-compatible and IPv4-mapped (RFC 4291, 2.5.5), IPv4-translated (RFC 2765, 2.1), NAT64 (RFC 6052, 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => {
            (v4(a, b), None)
        }
        // 6to4 (RFC 3056, 2): the router's address follows the prefix.
        [0x2002, a, b, ..] => (v4(a, b), None),
        // Teredo (RFC 4380, 4): the server, then the client with every bit flipped.
        [0x2001, 0, a, b, _, _, c, d] => (v4(a, b), Some(v4(!c, !d))),
        // ISATAP (RFC 5214, 6.1): any prefix, the interface identifier holds the IPv4 address.
        [_, _, _, _, 0 | 0x100 | 0x200 | 0x300, 0x5efe, a, b] => (address, Some(v4(a, b))),
        _ => (address, None),
    }
}

fn v4(high: u16, low: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

const fn net4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// IANA IPv4 Special-Purpose Address Registry (RFC 6890): what is not globally reachable; multicast; and one cloud's
/// metadata service that hides behind a public address.
const SPECIAL_V4: [Ipv4Net; 17] = [
    net4(0, 0, 0, 0, 8),          // this network; 0.0.0.0 connects to this host (RFC 1122)
    net4(10, 0, 0, 0, 8),         // private (RFC 1918)
    net4(100, 64, 0, 0, 10),      // carrier-grade NAT (RFC 6598); holds Alibaba's metadata service
    net4(127, 0, 0, 0, 8),        // loopback (RFC 1122)
    net4(168, 63, 129, 16, 32),   // Azure's WireServer, only there inside Azure
    net4(169, 254, 0, 0, 16),     // link-local (RFC 3927); holds most metadata services
    net4(172, 16, 0, 0, 12),      // private (RFC 1918)
    net4(192, 0, 0, 0, 24),       // protocol assignments (RFC 6890); holds Oracle's metadata service
    net4(192, 0, 2, 0, 24),       // documentation (RFC 5737)
    net4(192, 88, 99, 0, 24),     // 6to4 relays (RFC 7526, deprecated)
    net4(192, 168, 0, 0, 16),     // private (RFC 1918)
    net4(198, 18, 0, 0, 15),      // benchmarking (RFC 2544)
    net4(198, 51, 100, 0, 24),    // documentation (RFC 5737)
    net4(203, 0, 113, 0, 24),     // documentation (RFC 5737)
    net4(224, 0, 0, 0, 4),        // multicast (RFC 5771)
    net4(240, 0, 0, 0, 4),        // reserved (RFC 1112)
    net4(255, 255, 255, 255, 32), // broadcast (RFC 919)
];

/// Everything IANA has given out as global unicast. So `fc00::/7`, `fe80::/10`, `fec0::/10`, `ff00::/8`, `100::/64`,
/// `64:ff9b:1::/48` (RFC 8215: where in it the IPv4 address sits is known to the local network only) and what may come
/// are refused without a line of their own.
const GLOBAL_V6: Ipv6Net = net6(0x2000, 0, 3);

/// IANA IPv6 Special-Purpose Address Registry: the special parts of [`GLOBAL_V6`].
const SPECIAL_V6: [Ipv6Net; 4] = [
    net6(0x2001, 0, 23),      // protocol assignments (RFC 2928): benchmarking, ORCHID, Teredo …
    net6(0x2001, 0x0db8, 32), // documentation (RFC 3849)
    net6(0x2002, 0, 16),      // 6to4 (RFC 3056)
    net6(0x3fff, 0, 20),      // documentation (RFC 9637)
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => GLOBAL_V6.contains(&v6) && !SPECIAL_V6.iter().any(|net| net.contains(&v6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        Guard { allow: allow.iter().map(|net| net.parse().unwrap()).collect(), ports: vec![80, 443] }
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap_or_else(|e| panic!("{ip}: {e}"))).collect()
    }

    const REFUSED: [&str; 74] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "254.1.1.1",
        "255.255.255.255",
        "::",
        "::1",
        // IPv4-compatible, -mapped, -translated
        "::127.0.0.1",
        "::10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "::ffff:0:10.0.0.1",
        // NAT64: well-known, local-use with the address in any of RFC 6052's places
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:7f00:0:100::",
        "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
        // 6to4
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:a9fe:a9fe::",
        "2002:c0a8:101::1",
        // Teredo: by its server, by its client
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:0:808:808::80ff:fffe",
        "2001:0:808:808:0:0:f5ff:fffe",
        // ISATAP: by its prefix, by its identifier
        "fe80::5efe:8.8.8.8",
        "fe80::200:5efe:8.8.8.8",
        "2606:4700::5efe:127.0.0.1",
        "2606:4700::200:5efe:10.0.0.1",
        "2606:4700::100:5efe:10.0.0.1",
        "2606:4700::300:5efe:192.168.0.1",
        // link-local, site-local, unique local, metadata services
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fdff::1",
        // multicast, discard, documentation, benchmarking, ORCHID, segment routing, unassigned
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff:fff::1",
        "2001:2::1",
        "2001:20::1",
        "5f00::1",
        "4000::1",
    ];

    const PUBLIC: [&str; 22] = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.17",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001::5efe",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::5efe:8.8.8.8",
    ];

    #[test]
    fn special_addresses_are_refused_on_every_port() {
        for ip in ips(&REFUSED) {
            for port in [Port::Usual, Port::Other] {
                assert_eq!(guard(&[]).screen(vec![ip], port), Err(Blocked), "{ip} {port:?}");
            }
        }
    }

    #[test]
    fn public_addresses_are_reached_on_the_usual_ports_only() {
        for ip in ips(&PUBLIC) {
            assert_eq!(guard(&[]).screen(vec![ip], Port::Usual), Ok(vec![ip]), "{ip}");
            assert_eq!(guard(&[]).screen(vec![ip], Port::Other), Err(Blocked), "{ip}");
        }
    }

    #[test]
    fn listed_addresses_are_reached_on_every_port_under_any_spelling() {
        let guard = guard(&["127.0.0.0/8", "fd00::/8", "::1/128"]);
        for ip in ips(&["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd12::1", "::1"]) {
            assert_eq!(guard.screen(vec![ip], Port::Other), Ok(vec![ip]), "{ip}");
        }
        for ip in ips(&["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fd00::5efe:10.0.0.1", "0.0.0.0", "::"]) {
            assert_eq!(guard.screen(vec![ip], Port::Usual), Err(Blocked), "{ip}");
        }
    }

    #[test]
    fn a_list_of_wrappers_lists_nothing_inside_them() {
        let guard = guard(&["2000::/3", "64:ff9b::/96", "::/96", "::ffff:0:0/96"]);
        for ip in
            ips(&["::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2001:0:808:808::80ff:fffe", "::10.0.0.1"])
        {
            assert_eq!(guard.screen(vec![ip], Port::Usual), Err(Blocked), "{ip}");
        }
    }

    #[test]
    fn one_private_address_spoils_a_name() {
        for list in [
            &["8.8.8.8", "127.0.0.1"][..],
            &["127.0.0.1", "8.8.8.8"],
            &["8.8.8.8", "2606:4700::1", "fe80::1"],
            &["8.8.8.8", "::ffff:10.0.0.1"],
            &[],
        ] {
            assert_eq!(guard(&[]).screen(ips(list), Port::Usual), Err(Blocked), "{list:?}");
        }
        let public = ips(&["8.8.8.8", "2606:4700::1"]);
        assert_eq!(guard(&[]).screen(public.clone(), Port::Usual), Ok(public));
    }

    #[test]
    fn a_name_with_listed_addresses_is_reached_there_and_nowhere_else() {
        let guard = guard(&["127.0.0.0/8"]);
        for port in [Port::Usual, Port::Other] {
            assert_eq!(guard.screen(ips(&["::1", "127.0.0.1"]), port), Ok(ips(&["127.0.0.1"])));
            assert_eq!(guard.screen(ips(&["8.8.8.8", "127.0.0.1", "10.0.0.1"]), port), Ok(ips(&["127.0.0.1"])));
        }
    }

    #[test]
    fn odd_spellings_are_the_addresses_they_mean() {
        for url in [
            "http://0x7f.1/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://127。0。0。1/",
            "http://１２７.０.０.１/",
            "http://①②⑦.⓪.⓪.①/",
            "http://%31%32%37.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:ffff:127.0.0.1]/",
            "http://[::1]/",
            "http:\\\\127.0.0.1\\",
            "http:127.0.0.1",
            "http://\t127.0.0.1\n/",
        ] {
            let ip = match url::Url::parse(url).unwrap().host().unwrap() {
                url::Host::Ipv4(ip) => IpAddr::V4(ip),
                url::Host::Ipv6(ip) => IpAddr::V6(ip),
                url::Host::Domain(name) => panic!("{url} is the name {name}"),
            };
            assert_eq!(guard(&[]).screen(vec![ip], Port::Usual), Err(Blocked), "{url}");
        }
    }
}
