//! What proxies ask and tell Mixer: HTTPAPISpec, QuotaSpec and their bindings (V9).

use mesh_api::istio::mixer::v1::Attributes;
use mesh_api::istio::mixer::v1::attributes::AttributeValue;
use mesh_api::istio::mixer::v1::attributes::attribute_value::Value;
use mesh_api::istio::mixer::v1::config::client::api_key::Key;
use mesh_api::istio::mixer::v1::config::client::httpapi_spec_pattern::Pattern;
use mesh_api::istio::mixer::v1::config::client::string_match::MatchType;
use mesh_api::istio::mixer::v1::config::client::{
    AttributeMatch, HttpapiSpec, HttpapiSpecBinding, HttpapiSpecPattern, IstioService, QuotaRule, QuotaSpec,
    QuotaSpecBinding,
};

use super::primitive;
use super::problems::Problems;
use super::virtual_service::check_tags;

pub(super) fn check_api_spec(spec: &HttpapiSpec, problems: &mut Problems) {
    check_attributes(spec.attributes.as_ref(), problems);
    if spec.patterns.is_empty() {
        problems.report_field("patterns", "at least one is needed");
    }
    problems.each("patterns", &spec.patterns, |problems, pattern| {
        check_pattern(pattern, problems)
    });
    problems.each("apiKeys", &spec.api_keys, |problems, api_key| {
        let (name, value) = match &api_key.key {
            None => {
                problems.report("one of query, header and cookie is needed");
                return;
            }
            Some(Key::Query(value)) => ("query", value),
            Some(Key::Header(value)) => ("header", value),
            Some(Key::Cookie(value)) => ("cookie", value),
        };
        check_present(name, value, problems);
    });
}

/// Its own attributes: 1.1 looked at those of the whole spec once more, and refused a spec without.
fn check_pattern(pattern: &HttpapiSpecPattern, problems: &mut Problems) {
    check_attributes(pattern.attributes.as_ref(), problems);
    check_present("httpMethod", &pattern.http_method, problems);
    match &pattern.pattern {
        None => problems.report("one of uriTemplate and regex is needed"),
        Some(Pattern::UriTemplate(template)) => check_present("uriTemplate", template, problems),
        Some(Pattern::Regex(regex)) => check_present("regex", regex, problems),
    }
}

pub(super) fn check_api_spec_binding(binding: &HttpapiSpecBinding, problems: &mut Problems) {
    check_services(&binding.services, problems);
    if binding.api_specs.is_empty() {
        problems.report_field("apiSpecs", "a binding needs at least one");
    }
    problems.each("apiSpecs", &binding.api_specs, |problems, spec| {
        check_reference(&spec.name, &spec.namespace, problems);
    });
}

pub(super) fn check_quota_spec(spec: &QuotaSpec, problems: &mut Problems) {
    if spec.rules.is_empty() {
        problems.report_field("rules", "at least one is needed");
    }
    problems.each("rules", &spec.rules, |problems, rule| {
        check_quota_rule(rule, problems)
    });
}

fn check_quota_rule(rule: &QuotaRule, problems: &mut Problems) {
    problems.each("match", &rule.r#match, |problems, attributes| {
        check_clauses(attributes, problems)
    });
    if rule.quotas.is_empty() {
        problems.report_field("quotas", "a rule needs at least one");
    }
    problems.each("quotas", &rule.quotas, |problems, quota| {
        check_present("quota", &quota.quota, problems);
        if quota.charge <= 0 {
            problems.report_field("charge", format!("{} is not more than 0", quota.charge));
        }
    });
}

/// A clause without any text asks that the attribute is there.
fn check_clauses(attributes: &AttributeMatch, problems: &mut Problems) {
    problems.each_entry("clause", &attributes.clause, |problems, _, text| {
        let (name, value) = match &text.match_type {
            None => return,
            Some(MatchType::Exact(value)) => ("exact", value),
            Some(MatchType::Prefix(value)) => ("prefix", value),
            Some(MatchType::Regex(value)) => ("regex", value),
        };
        check_present(name, value, problems);
    });
}

pub(super) fn check_quota_spec_binding(binding: &QuotaSpecBinding, problems: &mut Problems) {
    check_services(&binding.services, problems);
    if binding.quota_specs.is_empty() {
        problems.report_field("quotaSpecs", "a binding needs at least one");
    }
    problems.each("quotaSpecs", &binding.quota_specs, |problems, spec| {
        check_reference(&spec.name, &spec.namespace, problems);
    });
}

/// The name of a spec; without a namespace it is in that of the binding.
fn check_reference(name: &str, namespace: &str, problems: &mut Problems) {
    check_present("name", name, problems);
    if !namespace.is_empty() {
        problems.check_field("namespace", primitive::label(namespace));
    }
}

fn check_services(services: &[IstioService], problems: &mut Problems) {
    if services.is_empty() {
        problems.report_field("services", "a binding needs at least one");
    }
    problems.each("services", services, |problems, service| {
        check_service(service, problems)
    });
}

/// A service by its full name, which may hold wildcards, or by the parts of it.
fn check_service(service: &IstioService, problems: &mut Problems) {
    let IstioService {
        name,
        namespace,
        domain,
        service,
        labels,
    } = service;
    match (name.is_empty(), service.is_empty()) {
        (true, true) => problems.report("one of name and service is needed"),
        (false, false) => problems.report("only one of name and service may be given"),
        _ => {}
    }
    if !service.is_empty() {
        for (field, value) in [("namespace", namespace), ("domain", domain)] {
            if !value.is_empty() {
                problems.report_field(field, "not together with service, which is a full name");
            }
        }
    }
    if !name.is_empty() {
        problems.check_field("name", primitive::label(name));
    }
    if !namespace.is_empty() {
        problems.check_field("namespace", primitive::label(namespace));
    }
    if !domain.is_empty() {
        problems.check_field("domain", primitive::fqdn(domain));
    }
    check_tags("labels", labels, problems);
}

fn check_attributes(attributes: Option<&Attributes>, problems: &mut Problems) {
    let Some(attributes) = attributes else { return };
    problems.field("attributes", |problems| {
        if attributes.attributes.is_empty() {
            problems.report_field("attributes", "must not be empty where they are given");
        }
        problems.each_entry("attributes", &attributes.attributes, |problems, _, value| {
            check_attribute(value, problems);
        });
    });
}

fn check_attribute(value: &AttributeValue, problems: &mut Problems) {
    match &value.value {
        None => problems.report("a value is needed"),
        Some(Value::StringValue(value)) => check_present("stringValue", value, problems),
        Some(Value::BytesValue(value)) if value.is_empty() => {
            problems.report_field("bytesValue", "must not be empty");
        }
        Some(Value::DurationValue(value)) => {
            problems.check_field("durationValue", primitive::duration(value));
        }
        Some(Value::TimestampValue(value)) => {
            problems.check_field("timestampValue", primitive::timestamp(value));
        }
        Some(Value::StringMapValue(value)) if value.entries.is_empty() => {
            problems.report_field("stringMapValue.entries", "must not be empty");
        }
        Some(
            Value::BytesValue(_)
            | Value::StringMapValue(_)
            | Value::Int64Value(_)
            | Value::DoubleValue(_)
            | Value::BoolValue(_),
        ) => {}
    }
}

fn check_present(name: &str, value: &str, problems: &mut Problems) {
    if value.is_empty() {
        problems.report_field(name, "must not be empty");
    }
}
