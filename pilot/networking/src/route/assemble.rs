//! Route configurations from encoded virtual hosts.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::RouteKey;
use crate::origin;

/// Field numbers of `envoy.config.route.v3.RouteConfiguration`.
const NAME: u32 = 1;
const VIRTUAL_HOSTS: u32 = 2;
const VALIDATE_CLUSTERS: u32 = 7;
const IGNORE_PORT_IN_HOST_MATCHING: u32 = 14;
const METADATA: u32 = 17;

/// Encodes a route configuration from the encoded virtual hosts, in the order of the key.
///
/// Clusters are not validated, so that a route to one that the proxy does not know yet blocks nothing (§5.16).
pub fn assemble(key: &RouteKey, virtual_hosts: &[Bytes]) -> Bytes {
    let metadata = origin::metadata(None, &key.origins).map(|metadata| metadata.encode_to_vec());
    let metadata = metadata.unwrap_or_default();
    // Keys below 16 and the fixed fields take a few bytes.
    let record = |body: &[u8]| 1 + encoded_len_varint(body.len() as u64) + body.len();
    let hosts: usize = virtual_hosts.iter().map(|body| record(body)).sum();
    let mut encoded = BytesMut::with_capacity(record(key.name.as_bytes()) + hosts + record(&metadata) + 5);

    if !key.name.is_empty() {
        put(&mut encoded, NAME, key.name.as_bytes());
    }
    for body in virtual_hosts {
        put(&mut encoded, VIRTUAL_HOSTS, body);
    }
    // The wrapper message of `false` is empty.
    put(&mut encoded, VALIDATE_CLUSTERS, &[]);
    if key.ignore_port_in_host_matching {
        encode_key(IGNORE_PORT_IN_HOST_MATCHING, WireType::Varint, &mut encoded);
        encode_varint(true.into(), &mut encoded);
    }
    if !metadata.is_empty() {
        put(&mut encoded, METADATA, &metadata);
    }
    encoded.freeze()
}

fn put(encoded: &mut BytesMut, field: u32, body: &[u8]) {
    encode_key(field, WireType::LengthDelimited, encoded);
    encode_varint(body.len() as u64, encoded);
    encoded.put_slice(body);
}

#[cfg(test)]
mod tests {
    use mesh_api::descriptors;
    use mesh_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
    use mesh_config::{ConfigKey, Kind};

    use super::*;

    #[test]
    fn the_field_numbers_are_those_of_the_descriptor() {
        let message = descriptors()
            .get_message_by_name("envoy.config.route.v3.RouteConfiguration")
            .unwrap();
        for (name, number) in [
            ("name", NAME),
            ("virtual_hosts", VIRTUAL_HOSTS),
            ("validate_clusters", VALIDATE_CLUSTERS),
            ("ignore_port_in_host_matching", IGNORE_PORT_IN_HOST_MATCHING),
            ("metadata", METADATA),
        ] {
            assert_eq!(
                message.get_field_by_name(name).unwrap().number(),
                number,
                "{name}"
            );
        }
    }

    #[test]
    fn joined_bytes_are_those_of_the_whole_message() {
        for (name, count, ignore_port) in [("80", 0, false), ("http.80", 1, true), ("9080", 300, false)] {
            let origins: Vec<ConfigKey> = (0..count.min(2))
                .map(|index| ConfigKey::new(Kind::Gateway, "istio-system", format!("edge-{index}")))
                .collect();
            let virtual_hosts: Vec<VirtualHost> = (0..count)
                .map(|index| VirtualHost {
                    name: format!("host-{index}:80"),
                    domains: vec![format!("host-{index}"); index],
                    ..VirtualHost::default()
                })
                .collect();
            let bodies: Vec<Bytes> = virtual_hosts
                .iter()
                .map(|host| host.encode_to_vec().into())
                .collect();
            let key = RouteKey {
                name: name.into(),
                ignore_port_in_host_matching: ignore_port,
                origins: origins.clone(),
                virtual_hosts: [].into(),
            };
            let whole = RouteConfiguration {
                name: name.to_owned(),
                virtual_hosts,
                validate_clusters: Some(false),
                ignore_port_in_host_matching: ignore_port,
                metadata: origin::metadata(None, &origins),
                ..RouteConfiguration::default()
            };
            let joined = assemble(&key, &bodies);
            assert_eq!(RouteConfiguration::decode(joined.clone()).unwrap(), whole);
            assert_eq!(joined, whole.encode_to_vec(), "{name}");
        }
    }
}
