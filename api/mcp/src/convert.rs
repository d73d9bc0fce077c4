//! Objects to MCP resources and back.

use mesh_api::Any;
use mesh_api::istio::mcp::v1alpha1::{Metadata, Resource};
use mesh_config::{Config, ConfigError, ConfigKey, Kind, Meta, Timestamp};

/// The resource that carries an object.
///
/// The type URL has one prefix, also for Struct collections, where 1.1 doubles it (spec 04 G4).
pub fn to_resource(config: &Config) -> Resource {
    let Meta {
        key,
        labels,
        annotations,
        created,
        version,
    } = &config.meta;
    Resource {
        metadata: Some(Metadata {
            name: key.resource_name(),
            create_time: Some((*created).into()),
            version: version.clone(),
            labels: labels.clone(),
            annotations: annotations.clone(),
        }),
        body: Some(config.body.clone()),
    }
}

/// The object that a resource carries.
///
/// `received` stands in for a missing creation time (P5.4). The body is checked for its type, not decoded: whoever
/// uses it decodes it and has to deal with a failure anyway. A doubled type URL prefix is accepted (G4).
///
/// # Errors
///
/// When metadata or body are missing, the name does not fit the scope of the kind, the creation time is no point in
/// time, or the body is another message.
pub fn from_resource(kind: Kind, resource: Resource, received: Timestamp) -> Result<Config, ConfigError> {
    let error = |object: &str, field: &str, reason: String| ConfigError {
        location: None,
        object: if object.is_empty() {
            kind.to_string()
        } else {
            format!("{kind} {object}")
        },
        field: field.to_owned(),
        reason,
    };

    let metadata = resource
        .metadata
        .ok_or_else(|| error("", "metadata", "is missing".to_owned()))?;
    let name = metadata.name;
    let key = ConfigKey::from_resource_name(kind, &name).ok_or_else(|| {
        error(
            &name,
            "metadata.name",
            format!("is not the name of a {:?}-scoped object", kind.schema().scope),
        )
    })?;
    let created = match metadata.create_time {
        None => received,
        Some(time) if (0..1_000_000_000).contains(&time.nanos) => time.into(),
        Some(time) => {
            return Err(error(
                &name,
                "metadata.create_time",
                format!("has {} nanoseconds", time.nanos),
            ));
        }
    };
    let body = resource
        .body
        .ok_or_else(|| error(&name, "body", "is missing".to_owned()))?;
    let expected = kind.schema().message;
    if body.message_name() != expected {
        return Err(error(
            &name,
            "body",
            format!("is a {}, not a {expected}", body.message_name()),
        ));
    }

    Ok(Config {
        meta: Meta {
            key,
            labels: metadata.labels,
            annotations: metadata.annotations,
            created,
            version: metadata.version,
        },
        body: Any {
            type_url: format!("type.googleapis.com/{expected}"),
            value: body.value,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: Timestamp = Timestamp {
        seconds: 1_700_000_000,
        nanos: 0,
    };

    fn config(kind: Kind, namespace: &str, name: &str) -> Config {
        Config {
            meta: Meta {
                key: ConfigKey::new(kind, namespace, name),
                labels: BTreeMap::from([("app".to_owned(), "forecast".to_owned())]),
                annotations: BTreeMap::from([("note".to_owned(), "x".to_owned())]),
                created: Timestamp { seconds: 5, nanos: 6 },
                version: "v1".to_owned(),
            },
            body: Any {
                type_url: format!("type.googleapis.com/{}", kind.schema().message),
                value: vec![10, 0].into(),
            },
        }
    }

    #[test]
    fn every_kind_survives_the_way_there_and_back() {
        for &kind in Kind::ALL {
            let namespace = match kind.schema().scope {
                mesh_config::Scope::Namespace => "weather",
                mesh_config::Scope::Cluster => "",
            };
            let config = config(kind, namespace, "forecast");
            assert_eq!(from_resource(kind, to_resource(&config), NOW), Ok(config));
        }
    }

    #[test]
    fn g4_the_doubled_prefix_of_struct_collections_is_accepted_and_not_emitted() {
        let config = config(Kind::Handler, "weather", "h");
        let config = Config {
            meta: Meta {
                key: ConfigKey::new(Kind::Denier, "weather", "h"),
                ..config.meta
            },
            body: Any {
                type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
                ..config.body
            },
        };
        let mut resource = to_resource(&config);
        resource.body.as_mut().unwrap().type_url =
            "type.googleapis.com/type.googleapis.com/google.protobuf.Struct".to_owned();
        assert_eq!(from_resource(Kind::Denier, resource, NOW), Ok(config));
    }

    #[test]
    fn p5_4_a_missing_creation_time_is_the_time_of_receipt() {
        let mut resource = to_resource(&config(Kind::Gateway, "a", "b"));
        resource.metadata.as_mut().unwrap().create_time = None;
        assert_eq!(
            from_resource(Kind::Gateway, resource, NOW).unwrap().meta.created,
            NOW
        );
    }

    #[test]
    fn a_bad_resource_is_an_error_that_names_object_field_and_reason() {
        type Spoil = fn(&mut Resource);
        let cases: [(&str, Spoil); 6] = [
            ("Gateway: metadata: is missing", |r| r.metadata = None),
            (
                "Gateway b: metadata.name: is not the name of a Namespace-scoped object",
                |r| {
                    r.metadata.as_mut().unwrap().name = "b".to_owned();
                },
            ),
            (
                "Gateway: metadata.name: is not the name of a Namespace-scoped object",
                |r| {
                    r.metadata.as_mut().unwrap().name = String::new();
                },
            ),
            ("Gateway a/b: metadata.create_time: has -1 nanoseconds", |r| {
                let time = r.metadata.as_mut().unwrap().create_time.as_mut().unwrap();
                time.nanos = -1;
            }),
            ("Gateway a/b: body: is missing", |r| r.body = None),
            (
                "Gateway a/b: body: is a istio.networking.v1alpha3.Sidecar, not a istio.networking.v1alpha3.Gateway",
                |r| {
                    r.body.as_mut().unwrap().type_url =
                        "type.googleapis.com/istio.networking.v1alpha3.Sidecar".to_owned();
                },
            ),
        ];
        for (expected, spoil) in cases {
            let mut resource = to_resource(&config(Kind::Gateway, "a", "b"));
            spoil(&mut resource);
            assert_eq!(
                from_resource(Kind::Gateway, resource, NOW)
                    .unwrap_err()
                    .to_string(),
                expected
            );
        }
    }
}
