//! Who may ask for what not everybody may: networks and keys, as operators write them.

mod tsig_key;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::tsig_key::{TsigAlgorithm, TsigKey};
use crate::directory::name::Name;

/// An address, or a network such as `192.0.2.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

impl Network {
    pub fn contains(&self, client: IpAddr) -> bool {
        match (self.address, client.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(client)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (network.to_bits() ^ client.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(client)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (network.to_bits() ^ client.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address or network: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        let network = Self { address, bits };
        let inside = |bit: u8| match address {
            IpAddr::V4(address) => address.to_bits() >> (31 - bit) & 1 == 1,
            IpAddr::V6(address) => address.to_bits() >> (127 - bit) & 1 == 1,
        };
        if bits > most || (bits..most).any(inside) {
            return Err(format!("{text:?} has bits beyond its length, or a length over {most}"));
        }
        Ok(network)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Who may have something: those in a network, all of them or those who sign with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    pub network: Network,
    /// Name of the key that a query has to be signed with (RFC 8945).
    pub key: Option<Name>,
}

impl Access {
    /// `key`: what the query was signed with, verified.
    pub fn admits(&self, client: IpAddr, key: Option<&Name>) -> bool {
        self.network.contains(client) && (self.key.is_none() || self.key.as_ref() == key)
    }
}

impl From<Network> for Access {
    fn from(network: Network) -> Self {
        Self { network, key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let has = |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(has("192.0.2.0/24", "192.0.2.255") && !has("192.0.2.0/24", "192.0.3.0"));
        assert!(has("192.0.2.7", "192.0.2.7") && !has("192.0.2.7", "192.0.2.6"));
        assert!(has("192.0.2.7", "::ffff:192.0.2.7") && !has("0.0.0.0/0", "::1"));
        assert!(has("0.0.0.0/0", "203.0.113.9") && has("::/0", "2001:db8::1"));
        assert!(has("2001:db8::/33", "2001:db8:7fff::1") && !has("2001:db8::/33", "2001:db8:8000::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for wrong in ["", "192.0.2", "192.0.2.0/33", "192.0.2.1/24", "2001:db8::1/64", "::/129", "a/8", "192.0.2.0/"] {
            assert!(wrong.parse::<Network>().unwrap_err().contains(&format!("{wrong:?}")), "{wrong}");
        }
        assert_eq!("192.0.2.0/24".parse::<Network>().unwrap().to_string(), "192.0.2.0/24");
    }
}
