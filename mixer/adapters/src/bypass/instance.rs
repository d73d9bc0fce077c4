//! Instances as messages.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::istio::policy::v1beta1 as policy;
use mesh_api::istio::policy::v1beta1::value::Value as Kind;
use mesh_api::{metric, quota};
use mixer_adapter::text::stringify;
use mixer_attribute::Value;
use mixer_template::{Fields, Metric, Quota};

pub(super) fn metric(instance: &Metric<'_>) -> metric::InstanceMsg {
    metric::InstanceMsg {
        name: instance.name.to_owned(),
        value: instance.value.as_ref().map(value),
        dimensions: values(&instance.dimensions),
        monitored_resource_type: instance.monitored_resource_type.to_string(),
        monitored_resource_dimensions: values(&instance.monitored_resource_dimensions),
    }
}

pub(super) fn quota(instance: &Quota<'_>) -> quota::InstanceMsg {
    quota::InstanceMsg {
        name: instance.name.to_owned(),
        dimensions: values(&instance.dimensions),
    }
}

fn values(fields: &Fields<'_>) -> BTreeMap<String, policy::Value> {
    fields
        .iter()
        .map(|(name, field)| ((*name).to_owned(), value(field)))
        .collect()
}

/// A map has no message of its own and is sent as text.
fn value(value: &Value<'_>) -> policy::Value {
    let kind = match value {
        Value::Int64(number) => Kind::Int64Value(*number),
        Value::Double(number) => Kind::DoubleValue(*number),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Timestamp(time) => Kind::TimestampValue(policy::TimeStamp { value: Some(*time) }),
        Value::Duration(duration) => Kind::DurationValue(policy::Duration {
            value: Some(*duration),
        }),
        Value::IpAddress(address) => Kind::IpAddressValue(policy::IpAddress {
            value: match address {
                IpAddr::V4(address) => address.octets().to_vec().into(),
                IpAddr::V6(address) => address.octets().to_vec().into(),
            },
        }),
        Value::String(_) | Value::StringMap(_) => Kind::StringValue(stringify(Some(value)).into_owned()),
    };
    policy::Value { value: Some(kind) }
}
